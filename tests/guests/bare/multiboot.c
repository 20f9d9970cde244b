/*
 * A Multiboot kernel (Multiboot Specification 0.6.96): tells what it was given and
 * ends as `end=` on its command line says.
 */
#include "machine.h"

enum {
	MAGIC = 0x1badb002,
	PAGE_ALIGN = 1,
	MEMORY_INFORMATION = 2,
	FLAGS = PAGE_ALIGN | MEMORY_INFORMATION,
};

struct header {
	u32 magic, flags, checksum;
};

const struct header header __attribute__((section(".header"), used)) = {
	MAGIC, FLAGS, 0u - (MAGIC + FLAGS),
};

struct module {
	u32 start, end, text, reserved;
};

struct range {
	u32 size;
	u64 base, length;
	u32 type;
} __attribute__((packed));

struct information {
	u32 flags, lower, upper, boot_device, command_line;
	u32 modules, module_list;
	u32 symbols[4];
	u32 map_length, map;
	u32 drives_length, drives, config, loader_name;
};

static void tell_modules(const struct information *info)
{
	const struct module *m = (const struct module *)info->module_list;

	for (u32 n = 0; n < info->modules; n++, m++) {
		tell("module.start", m->start);
		tell("module.size", m->end - m->start);
		tell("module.sum", checksum((const u8 *)m->start, m->end - m->start));
		tell_text("module.text", (const char *)m->text);
	}
}

static void tell_map(const struct information *info)
{
	u32 at = info->map;

	while (at < info->map + info->map_length) {
		const struct range *range = (const struct range *)at;

		tell("range.base", range->base);
		tell("range.length", range->length);
		tell("range.type", range->type);
		at += range->size + sizeof range->size;
	}
}

void __attribute__((noreturn))
start(u32 magic, const struct information *info, u32 cr0, u32 flags)
{
	u16 cs, ss;

	__asm__ volatile("mov %%cs, %0; mov %%ss, %1" : "=r"(cs), "=r"(ss));
	tell("magic", magic);
	tell("cr0", cr0);
	tell("eflags", flags);
	tell("cs", cs & 3);
	tell("flags", info->flags);
	tell("lower", info->lower);
	tell("upper", info->upper);
	const char *line = (const char *)info->command_line;
	tell_text("line", line);
	tell_text("loader", (const char *)info->loader_name);
	tell_modules(info);
	tell_map(info);
	finish(find_word(line, "end="));
}

__asm__(".globl _start\n"
	"_start:\n"
	"	mov $stack_top, %esp\n"
	"	pushf\n"
	"	mov %cr0, %ecx\n"
	"	push %ecx\n"
	"	push %ebx\n"
	"	push %eax\n"
	"	call start\n");
