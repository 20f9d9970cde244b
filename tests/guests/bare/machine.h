/*
 * What the bare kernels of the tests share: COM1 as output, by polling, and the ways
 * in which a machine ends.  Freestanding C for i386 and amd64.
 */
#ifndef MACHINE_H
#define MACHINE_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum {
	COM1 = 0x3f8,
	COM1_LINE_STATUS = COM1 + 5,
	LINE_READY = 0x20,
	SMI_COMMAND = 0xb2,
	ACPI_ENABLE = 0xa0,
	PIC1_MASK = 0x21,
	PIC2_MASK = 0xa1,
	PM1_CONTROL = 0x404,
	SOFT_OFF = 5 << 10 | 1 << 13,
	KEYBOARD_COMMAND = 0x64,
	KEYBOARD_RESET = 0xfe,
	RESET_CONTROL = 0xcf9,
	RESET_FULL = 6,
};

static inline u8 in8(u16 port)
{
	u8 value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void out8(u16 port, u8 value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(u16 port, u16 value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void say_char(char c)
{
	while (!(in8(COM1_LINE_STATUS) & LINE_READY))
		;
	out8(COM1, (u8)c);
}

static inline void say(const char *text)
{
	while (*text)
		say_char(*text++);
}

static inline void say_hex(u64 value)
{
	int shift = 60;

	while (shift > 0 && (value >> shift & 15) == 0)
		shift -= 4;
	say("0x");
	for (; shift >= 0; shift -= 4)
		say_char("0123456789abcdef"[value >> shift & 15]);
}

/* A line of its own: NAME VALUE. */
static inline void tell(const char *name, u64 value)
{
	say(name);
	say_char(' ');
	say_hex(value);
	say_char('\n');
}

static inline void tell_text(const char *name, const char *text)
{
	say(name);
	say_char(' ');
	say(text);
	say_char('\n');
}

static inline int equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* The text behind `word` in a line of words, or 0. */
static inline const char *find_word(const char *line, const char *word)
{
	for (; *line; line++) {
		const char *a = line, *b = word;
		while (*b && *a == *b)
			a++, b++;
		if (!*b)
			return a;
	}
	return 0;
}

/* FNV-1a: enough to see that content arrived. */
static inline u32 checksum(const u8 *bytes, u64 length)
{
	u32 hash = 0x811c9dc5;

	while (length-- > 0)
		hash = (hash ^ *bytes++) * 0x01000193;
	return hash;
}

static inline void __attribute__((noreturn)) stop(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* Halted for good, but not dead: interrupts are on and none comes. */
static inline void __attribute__((noreturn)) wait(void)
{
	out8(PIC1_MASK, 0xff);
	out8(PIC2_MASK, 0xff);
	for (;;)
		__asm__ volatile("sti; hlt");
}

static inline void triple_fault(void)
{
	static const struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) nothing = {0, 0};

	__asm__ volatile("lidt %0; int3" : : "m"(nothing));
}

/* Ends as the first letter of `how` says. */
static inline void __attribute__((noreturn)) finish(const char *how)
{
	say("END\n");
	switch (how ? *how : 'p') {
	case 't':
		triple_fault();
		break;
	case 'k':
		out8(KEYBOARD_COMMAND, KEYBOARD_RESET);
		break;
	case 'r':
		out8(RESET_CONTROL, RESET_FULL);
		break;
	case 'h':
		stop();
	case 'w':
		wait();
	default:
		out8(SMI_COMMAND, ACPI_ENABLE);
		out16(PM1_CONTROL, SOFT_OFF);
	}
	say("STILL HERE\n");
	stop();
}

#endif
