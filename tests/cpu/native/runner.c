/*
 * The silicon side of the differential CPU tests: runs snippets of machine code on the host and
 * reports registers, memory and faults. Linux x86-64 only. Protocol on stdin/stdout: a u32 count,
 * then that many struct test_case; the answer is as many struct test_result, in order.
 *
 * One signal round trip per case: the handler stores what the interrupted snippet left as the
 * result of the current case, writes the next case into the same signal frame and returns from the
 * signal. main() is never resumed, so all input and output happens inside the handler. The handler
 * runs while FS, GS and the selectors belong to the guest: no TLS, hence no libc calls and no
 * stack protector there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

enum {
	DATA_BASE = 0x10000000, DATA_SIZE = 0x2000, DATA_WINDOW = 512,
	CODE_BASE = 0x20000000, CODE_SIZE = 0x2000, CODE_MAX = 64,
	STACK_BASE = 0x30000000, STACK_SIZE = 0x1000,
	STACK_WINDOW_AT = 0x30000700, STACK_WINDOW = 256,
	FX_SIZE = 512,
	/* XMM15 ends here; the rest is reserved, and the kernel keeps its own words in it. */
	FX_STATE = 416,
	BATCH_MAX = 4096,
	USER_CS64 = 0x33, USER_CS32 = 0x23, USER_DS = 0x2b,
	INT3 = 0xcc,
};

enum { VECTOR_TIMEOUT = -1, VECTOR_SYSCALL = -3 };

enum {
	VECTOR_BP = 3, VECTOR_TS = 10, VECTOR_GP = 13, VECTOR_PF = 14, VECTOR_AC = 17,
};

enum {
	FLAG_FIXED = 0x2, FLAG_IF = 0x200,
	/* What sigreturn takes from the frame (the kernel's FIX_EFLAGS without TF and RF) ... */
	FLAGS_FRAME = 0x40cd5,
	/* ... and what it leaves alone, so that it has to be live in the handler: NT, AC, ID. */
	FLAGS_LIVE = 0x244000,
};

struct test_case {
	uint64_t gpr[16];
	uint64_t rflags, fs_base, gs_base;
	uint32_t mode, code_length, code_base, data_base;
	uint8_t code[CODE_MAX];
	uint8_t pad[8];
	uint8_t fx[FX_SIZE];
	uint8_t data[DATA_WINDOW];
	uint8_t stack[STACK_WINDOW];
};

struct test_result {
	uint64_t gpr[16];
	uint64_t rflags, rip, cr2;
	int32_t vector;
	uint32_t error_code;
	uint8_t fx[FX_SIZE];
	uint8_t data[DATA_WINDOW];
	uint8_t stack[STACK_WINDOW];
};

_Static_assert(sizeof(struct test_case) == 1520, "case record");
_Static_assert(sizeof(struct test_result) == 1440, "result record");

/* ucontext's names for the registers, in the order of their hardware numbers. */
static const int greg_of[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static struct test_case cases[BATCH_MAX];
static struct test_result results[BATCH_MAX];
static uint32_t case_count, case_index;
static int case_running;
/* Counts the cases of the process; a timer tick that meets the same number twice is a timeout. */
static uint64_t serial, serial_at_tick;
static uint8_t *code_alias;
static int has_fsgsbase;

static inline void copy(void *to, const void *from, size_t size)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

static inline void fill(void *to, uint8_t byte, size_t size)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
}

static inline long syscall3(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
		: "rcx", "r11", "memory");
	return result;
}

static void transfer(long number, int fd, void *buffer, size_t size)
{
	uint8_t *at = buffer;

	while (size > 0) {
		long done = syscall3(number, fd, (long)at, (long)size);

		if (done == -EINTR)
			continue;
		if (done <= 0)
			syscall3(SYS_exit_group, done < 0, 0, 0);
		at += done;
		size -= (size_t)done;
	}
}

static void next_batch(void)
{
	if (case_count > 0)
		transfer(SYS_write, 1, results, case_count * sizeof(results[0]));
	transfer(SYS_read, 0, &case_count, sizeof(case_count));
	if (case_count == 0 || case_count > BATCH_MAX)
		syscall3(SYS_exit_group, 2, 0, 0);
	transfer(SYS_read, 0, cases, case_count * sizeof(cases[0]));
	case_index = 0;
}

static int has_error_code(int vector)
{
	return (vector >= VECTOR_TS && vector <= VECTOR_PF) || vector == VECTOR_AC;
}

static int vector_of(int sig, const greg_t *gregs)
{
	if (sig == SIGVTALRM)
		return VECTOR_TIMEOUT;
	if (sig == SIGSYS)
		return VECTOR_SYSCALL;
	return (int)gregs[REG_TRAPNO];
}

static void store_registers(struct test_result *result, const greg_t *gregs, int is32)
{
	/* The upper halves, and R8-R15, are undefined after a stay in 32-bit mode. */
	for (int i = 0; i < 16; i++)
		result->gpr[i] = is32 ? (i < 8 ? (uint32_t)gregs[greg_of[i]] : 0)
			: (uint64_t)gregs[greg_of[i]];
	result->rip = is32 ? (uint32_t)gregs[REG_RIP] : (uint64_t)gregs[REG_RIP];
	result->rflags = (uint64_t)gregs[REG_EFL];
}

static void store_result(int sig, const ucontext_t *uc)
{
	const struct test_case *from = &cases[case_index];
	struct test_result *result = &results[case_index];
	const greg_t *gregs = uc->uc_mcontext.gregs;

	result->vector = vector_of(sig, gregs);
	result->error_code = has_error_code(result->vector) ? (uint32_t)gregs[REG_ERR] : 0;
	result->cr2 = result->vector == VECTOR_PF ? (uint64_t)gregs[REG_CR2] : 0;
	store_registers(result, gregs, from->mode == 32);
	copy(result->fx, uc->uc_mcontext.fpregs, FX_STATE);
	fill(result->fx + FX_STATE, 0, FX_SIZE - FX_STATE);
	copy(result->data, (void *)(uintptr_t)from->data_base, DATA_WINDOW);
	copy(result->stack, (void *)(uintptr_t)STACK_WINDOW_AT, STACK_WINDOW);
}

/* Nothing that one case leaves may reach the next one: all of the memory is rewritten. */
static void load_memory(const struct test_case *next)
{
	fill((void *)(uintptr_t)DATA_BASE, 0, DATA_SIZE);
	copy((void *)(uintptr_t)next->data_base, next->data, DATA_WINDOW);
	fill((void *)(uintptr_t)STACK_BASE, 0, STACK_SIZE);
	copy((void *)(uintptr_t)STACK_WINDOW_AT, next->stack, STACK_WINDOW);
}

static void load_code(const struct test_case *next)
{
	static uint32_t used_at, used_length;
	uint32_t at = next->code_base - CODE_BASE;

	fill(code_alias + used_at, INT3, used_length);
	copy(code_alias + at, next->code, next->code_length);
	used_at = at;
	used_length = next->code_length;
}

static void load_segments(const struct test_case *next)
{
	/* FS and GS get a flat selector as well, so that their bases count in 32-bit mode. */
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs" : : "r"(USER_DS));
	if (has_fsgsbase) {
		__asm__ volatile("wrfsbase %0" : : "r"(next->fs_base));
		__asm__ volatile("wrgsbase %0" : : "r"(next->gs_base));
	} else {
		syscall3(SYS_arch_prctl, 0x1002 /* ARCH_SET_FS */, (long)next->fs_base, 0);
		syscall3(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, (long)next->gs_base, 0);
	}
}

static void load_fpu(const struct test_case *next, ucontext_t *uc)
{
	uint8_t *frame = (uint8_t *)uc->uc_mcontext.fpregs;
	uint32_t mxcsr, mxcsr_mask;

	copy(&mxcsr_mask, frame + 28, sizeof(mxcsr_mask));
	copy(frame, next->fx, FX_STATE);
	/* A reserved bit in MXCSR would make the kernel's restore, and so the runner, fail. */
	copy(&mxcsr, next->fx + 24, sizeof(mxcsr));
	mxcsr &= mxcsr_mask ? mxcsr_mask : 0xffbf;
	copy(frame + 24, &mxcsr, sizeof(mxcsr));
	copy(frame + 28, &mxcsr_mask, sizeof(mxcsr_mask));
	/* XSTATE_BV: x87 and SSE come from the frame, everything above goes to its initial state. */
	if (*(uint32_t *)(frame + 464) == 0x46505853 /* FP_XSTATE_MAGIC1 */)
		*(uint64_t *)(frame + 512) = 3;
}

static void load_registers(const struct test_case *next, greg_t *gregs)
{
	int is32 = next->mode == 32;

	for (int i = 0; i < 16; i++)
		gregs[greg_of[i]] = (greg_t)(is32 ? (uint32_t)next->gpr[i] : next->gpr[i]);
	gregs[REG_RIP] = next->code_base;
	gregs[REG_EFL] = (greg_t)((next->rflags & FLAGS_FRAME) | FLAG_FIXED | FLAG_IF);
	gregs[REG_CSGSFS] = (greg_t)((uint64_t)(is32 ? USER_CS32 : USER_CS64) |
		(uint64_t)USER_DS << 48);
	gregs[REG_TRAPNO] = 0;
	gregs[REG_ERR] = 0;
}

/* Returns the flags to be live when the handler returns; `flags` are those it was entered with. */
__attribute__((used)) static uint64_t handle(int sig, siginfo_t *info, ucontext_t *uc, uint64_t flags)
{
	const struct test_case *next;

	(void)info;
	if (sig == SIGVTALRM && (!case_running || serial != serial_at_tick)) {
		serial_at_tick = serial;
		return (flags & FLAGS_LIVE) | FLAG_FIXED | FLAG_IF;
	}
	if (case_running) {
		store_result(sig, uc);
		case_index++;
	}
	if (case_index == case_count)
		next_batch();
	case_running = 1;
	serial++;
	next = &cases[case_index];
	load_memory(next);
	load_code(next);
	load_fpu(next, uc);
	load_registers(next, uc->uc_mcontext.gregs);
	load_segments(next);
	return (next->rflags & FLAGS_LIVE) | FLAG_FIXED | FLAG_IF;
}

/*
 * The kernel enters the handler with the guest's AC, NT and ID still set, and takes NT and ID back
 * from the flags at the time of sigreturn, not from the frame.
 */
void signal_entry(int sig, siginfo_t *info, void *uc);
__asm__(
	".globl signal_entry\n"
	"signal_entry:\n"
	"	pushfq\n"
	"	pop %rcx\n"
	"	pushq $0x202\n"
	"	popfq\n"
	"	sub $8, %rsp\n"
	"	call handle\n"
	"	add $8, %rsp\n"
	"	push %rax\n"
	"	popfq\n"
	"	ret\n");

static void *map(uintptr_t at, size_t size, int protection, int flags, int fd)
{
	void *memory = mmap((void *)at, size, protection, flags, fd, 0);

	if (memory == MAP_FAILED || (at != 0 && memory != (void *)at)) {
		perror("mmap");
		exit(3);
	}
	return memory;
}

static void map_windows(void)
{
	int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE;
	int fd = memfd_create("code", 0);

	if (fd < 0 || ftruncate(fd, CODE_SIZE) < 0) {
		perror("memfd_create");
		exit(3);
	}
	map(DATA_BASE, DATA_SIZE, PROT_READ | PROT_WRITE, anonymous, -1);
	map(STACK_BASE, STACK_SIZE, PROT_READ | PROT_WRITE, anonymous, -1);
	/* The snippets may not write the code they run; the runner does so through a second view. */
	map(CODE_BASE, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED_NOREPLACE, fd);
	code_alias = map(0, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	fill(code_alias, INT3, CODE_SIZE);
}

/* A snippet gone astray must not reach the kernel: system calls from below 4 GiB become SIGSYS. */
static void forbid_system_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		perror("seccomp");
}

static void install_handlers(void)
{
	static const int signals[] = {
		SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGVTALRM,
	};
	static uint8_t stack[256 * 1024] __attribute__((aligned(64)));
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action = { .sa_sigaction = signal_entry, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigaltstack(&alternate, NULL);
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
}

/* User CPU time, not wall-clock time: a busy host must not turn a slow case into a timeout. */
static void start_timer(void)
{
	struct itimerval every = { { 0, 20000 }, { 0, 20000 } };

	setitimer(ITIMER_VIRTUAL, &every, NULL);
}

int main(void)
{
	has_fsgsbase = (getauxval(AT_HWCAP2) & 2) != 0;
	map_windows();
	install_handlers();
	start_timer();
	forbid_system_calls();
	/* The first trap has no case behind it; it only brings the handler to life. */
	__asm__ volatile("int3");
	return 4;
}
