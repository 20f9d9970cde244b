/*
 * Times machine code on the host: `native CODEFILE TURNS RUNS` prints the seconds
 * of each run of one call. The code finds RCX = TURNS, RSI and RDI at two buffers
 * of 1 MiB, RDX = 256, and must preserve RSP; RET is appended to it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void call(void *code, uint64_t turns, void *from, void *to)
{
	register void *target __asm__("r10") = code;
	uint64_t rdx = 256;

	__asm__ volatile("push %%rbx; push %%rbp; call *%%r10; pop %%rbp; pop %%rbx"
	    : "+c"(turns), "+S"(from), "+D"(to), "+d"(rdx), "+r"(target)
	    :
	    : "rax", "r8", "r9", "r11", "xmm0", "xmm1", "memory", "cc");
}

int main(int argc, char **argv)
{
	enum { BUFFER = 1 << 20, MARGIN = 1 << 20, CODE = 4096 };
	FILE *f;
	size_t length;
	uint8_t *code, *data;

	if (argc != 4 || (f = fopen(argv[1], "rb")) == NULL)
		return 2;
	code = mmap(0, CODE, PROT_READ | PROT_WRITE | PROT_EXEC,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	data = mmap(0, 2 * (BUFFER + MARGIN), PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED || data == MAP_FAILED)
		return 2;
	memset(data, 0, 2 * (BUFFER + MARGIN));
	length = fread(code, 1, CODE - 1, f);
	code[length] = 0xc3;
	for (int n = atoi(argv[3]); n > 0; n--) {
		double start = now();
		call(code, strtoull(argv[2], 0, 10), data, data + BUFFER + MARGIN);
		printf("%.9f\n", now() - start);
	}
	return 0;
}
