/*
 * What a guest feels of the machine that it runs on, a figure a line: each test does a
 * fixed amount of work and prints "bench NAME SECONDS" by the guest's own clock.
 * Static, without arguments every test, else those that are named. For any Linux of
 * 256 MiB or more, amd64 or i386.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)

/* What tests compute goes here, so that the compiler must compute it. */
static volatile uint64_t sink;

static double seconds(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static uint32_t next_random(uint32_t *state) {
	return *state = *state * 1664525 + 1013904223;
}

/* Rotates, adds and logic of 32 bits: the compression of SHA-256 over 8 MiB. */

static uint32_t rotate(uint32_t value, int count) {
	return value >> count | value << (32 - count);
}

static void sha256_round(uint32_t s[8], uint32_t input) {
	uint32_t high = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
	uint32_t low = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
	uint32_t choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
	uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
	uint32_t sum = s[7] + high + choice + input;
	s[7] = s[6]; s[6] = s[5]; s[5] = s[4]; s[4] = s[3] + sum;
	s[3] = s[2]; s[2] = s[1]; s[1] = s[0]; s[0] = sum + low + majority;
}

static void int_sha256(void) {
	uint32_t keys[64], hash[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	for (int i = 0; i < 64; i++)
		keys[i] = (uint32_t)i * 2654435761u ^ 0x428a2f98;
	for (uint32_t block = 0; block < 8 * MIB / 64; block++) {
		uint32_t w[64], state[8];
		for (int i = 0; i < 16; i++)
			w[i] = block * 16 + i;
		for (int i = 16; i < 64; i++) {
			uint32_t a = w[i - 15], b = w[i - 2];
			w[i] = w[i - 16] + w[i - 7] +
			    (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
			    (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
		}
		memcpy(state, hash, sizeof state);
		for (int i = 0; i < 64; i++)
			sha256_round(state, keys[i] + w[i]);
		for (int i = 0; i < 8; i++)
			hash[i] += state[i];
	}
	sink += hash[0];
}

/* Branches and bytes: the primes below 4 million, three times. */
static void int_sieve(void) {
	enum { LIMIT = 4000000, ROUNDS = 3 };
	unsigned char *prime = malloc(LIMIT);
	for (int round = 0; round < ROUNDS; round++) {
		memset(prime, 1, LIMIT);
		for (int i = 2; i * i < LIMIT; i++)
			if (prime[i])
				for (int j = i * i; j < LIMIT; j += i)
					prime[j] = 0;
		for (int i = 2; i < LIMIT; i++)
			sink += prime[i];
	}
	free(prime);
}

/* Calls and returns. */
static __attribute__((noinline)) unsigned fib(unsigned n) {
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void int_fib(void) {
	sink += fib(33);
}

/* Calls by pointer and compares that no one predicts: 600,000 numbers sorted. */
static int compare(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void int_qsort(void) {
	enum { COUNT = 600000 };
	uint32_t *numbers = malloc(COUNT * sizeof *numbers), state = 1;
	for (int i = 0; i < COUNT; i++)
		numbers[i] = next_random(&state);
	qsort(numbers, COUNT, sizeof *numbers, compare);
	sink += numbers[COUNT / 2];
	free(numbers);
}

/* Multiplication and division of 64 bits. */
static void int_muldiv(void) {
	uint64_t a = 0x123456789abcdefULL, sum = 0;
	for (int i = 1; i < 6000000; i++) {
		a = a * 6364136223846793005ULL + i;
		sum += (a >> 8) / (uint64_t)(i | 1) + a % 1000003;
	}
	sink += sum;
}

/* The C library's copies: 1 GiB in pieces of 1 MiB. */
static void mem_copy(void) {
	char *from = malloc(MIB), *to = malloc(MIB);
	memset(from, 1, MIB);
	for (int i = 0; i < 1024; i++) {
		memcpy(to, from, MIB);
		from[i] = to[i + 1];
	}
	sink += to[5];
	free(from);
	free(to);
}

/* Loads that wait for each other, at random over 64 MiB. */
static void mem_chase(void) {
	enum { COUNT = 16 << 20 };
	uint32_t *links = malloc(COUNT * sizeof *links), at = 1;
	for (uint32_t i = 0; i < COUNT; i++)
		links[i] = (i * 2654435761u + 12345) % COUNT;
	for (int i = 0; i < 4000000; i++)
		at = links[(at + i) % COUNT];
	sink += at;
	free(links);
}

/* Page faults: 256 MiB of fresh memory in pieces of 64 MiB, a byte a page. */
static void mem_fault(void) {
	for (int round = 0; round < 4; round++) {
		char *memory = mmap(0, 64 * MIB, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (size_t at = 0; at < 64 * MIB; at += 4096)
			memory[at] = 1;
		munmap(memory, 64 * MIB);
	}
}

/* Double precision: products of 192 by 192 matrices, eight of them. */
static void fp_matmul(void) {
	enum { SIZE = 192 };
	static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];
	for (int i = 0; i < SIZE; i++)
		for (int j = 0; j < SIZE; j++) {
			a[i][j] = i + j;
			b[i][j] = i - j + 0.5;
		}
	for (int round = 0; round < 8; round++)
		for (int i = 0; i < SIZE; i++)
			for (int k = 0; k < SIZE; k++)
				for (int j = 0; j < SIZE; j++)
					c[i][j] += a[i][k] * b[k][j];
	sink += (uint64_t)c[3][5];
}

/* Extended precision: a million steps of the logistic map. */
static void fp_x87(void) {
	volatile long double start = 0.5L;
	long double y = start;
	for (int i = 0; i < 1000000; i++)
		y = y * 3.7L * (1.0L - y);
	sink += (uint64_t)(y * 1e6L);
}

static void os_syscall(void) {
	for (int i = 0; i < 300000; i++)
		sink += syscall(SYS_getppid);
}

static void os_forkexec(void) {
	for (int i = 0; i < 150; i++) {
		pid_t child = fork();
		if (child == 0) {
			execl("/proc/self/exe", "guestbench", "--exit", (char *)0);
			_exit(1);
		}
		waitpid(child, 0, 0);
	}
}

/* A byte goes to another process and back, 15,000 times. */
static void pass_bytes(int in, int out, int isFirst) {
	char byte = 0;
	if (isFirst && write(out, &byte, 1) != 1)
		return;
	for (int i = 0; i < 15000; i++)
		if (read(in, &byte, 1) != 1 || write(out, &byte, 1) != 1)
			return;
}

static void os_pipe(void) {
	int there[2], back[2];
	if (pipe(there) || pipe(back))
		return;
	pid_t child = fork();
	if (child == 0) {
		pass_bytes(there[0], back[1], 0);
		_exit(0);
	}
	pass_bytes(back[0], there[1], 1);
	waitpid(child, 0, 0);
}

/* Code that is written, run once and overwritten, as by a small compiler. */
static void smc_jit(void) {
	unsigned char *page = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return;
	for (int i = 0; i < 20000; i++) {
		/* mov eax, i; ret */
		unsigned char code[] = { 0xb8, i, i >> 8, 0, 0, 0xc3 };
		memcpy(page, code, sizeof code);
		sink += ((unsigned (*)(void))page)();
	}
	munmap(page, 4096);
}

#define TEST(name) { #name, name }
static const struct { const char *name; void (*run)(void); } tests[] = {
	TEST(int_sha256), TEST(int_sieve), TEST(int_fib), TEST(int_qsort),
	TEST(int_muldiv), TEST(mem_copy), TEST(mem_chase), TEST(mem_fault),
	TEST(fp_matmul), TEST(fp_x87), TEST(os_syscall), TEST(os_forkexec),
	TEST(os_pipe), TEST(smc_jit),
};

static int is_wanted(const char *name, char **names) {
	if (!*names)
		return 1;
	for (; *names; names++)
		if (!strcmp(*names, name))
			return 1;
	return 0;
}

int main(int count, char **arguments) {
	if (count > 1 && !strcmp(arguments[1], "--exit"))
		return 0;
	for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++) {
		if (!is_wanted(tests[i].name, arguments + 1))
			continue;
		double start = seconds();
		tests[i].run();
		printf("bench %s %.4f\n", tests[i].name, seconds() - start);
		fflush(stdout);
	}
	return 0;
}
