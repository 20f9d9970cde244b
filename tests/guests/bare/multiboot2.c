/*
 * A Multiboot2 kernel (Multiboot2 Specification 2.0): tells what it was given and
 * ends as `end=` on its command line says.
 */
#include "machine.h"

enum {
	MAGIC = 0xe85250d6,
	I386 = 0,
	INFORMATION_REQUEST = 1,
	COMMAND_LINE = 1,
	LOADER_NAME = 2,
	MODULE = 3,
	MEMORY = 4,
	MAP = 6,
};

struct header {
	u32 magic, architecture, length, checksum;
	u16 request_type, request_flags;
	u32 request_size, requests[2];
	u16 end_type, end_flags;
	u32 end_size;
};

const struct header header
	__attribute__((section(".header"), aligned(8), used)) = {
	MAGIC, I386, sizeof(struct header),
	0u - (MAGIC + I386 + sizeof(struct header)),
	INFORMATION_REQUEST, 0, 16, {COMMAND_LINE, MAP},
	0, 0, 8,
};

struct tag {
	u32 type, size;
	u32 data[];
};

static void tell_map(const struct tag *tag)
{
	u32 entry_size = tag->data[0];

	tell("map.version", tag->data[1]);
	for (u32 at = 16; at + entry_size <= tag->size; at += entry_size) {
		const u32 *entry = (const u32 *)((const u8 *)tag + at);

		tell("range.base", (u64)entry[1] << 32 | entry[0]);
		tell("range.length", (u64)entry[3] << 32 | entry[2]);
		tell("range.type", entry[4]);
	}
}

static void tell_module(const struct tag *tag)
{
	u32 size = tag->data[1] - tag->data[0];

	tell("module.start", tag->data[0]);
	tell("module.size", size);
	tell("module.sum", checksum((const u8 *)tag->data[0], size));
	tell_text("module.text", (const char *)&tag->data[2]);
}

void __attribute__((noreturn)) start(u32 magic, u32 information)
{
	const char *line = "";
	u32 end = information + *(const u32 *)information;
	u32 at = information + 8;

	tell("magic", magic);
	tell("aligned", information % 8 == 0);
	while (at < end) {
		const struct tag *tag = (const struct tag *)at;

		if (tag->type == 0)
			break;
		switch (tag->type) {
		case COMMAND_LINE:
			line = (const char *)tag->data;
			tell_text("line", line);
			break;
		case LOADER_NAME:
			tell_text("loader", (const char *)tag->data);
			break;
		case MODULE:
			tell_module(tag);
			break;
		case MEMORY:
			tell("lower", tag->data[0]);
			tell("upper", tag->data[1]);
			break;
		case MAP:
			tell_map(tag);
			break;
		}
		at += (tag->size + 7) & ~7u;
	}
	tell("rest", end - at);
	finish(find_word(line, "end="));
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mov $stack_top, %esp\n"
	"	push %ebx\n"
	"	push %eax\n"
	"	call start\n");
