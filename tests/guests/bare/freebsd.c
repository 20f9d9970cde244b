/*
 * A kernel that is started as FreeBSD/amd64's is: walks what the loader hands over
 * (metadata.h, linker.h), checks what it can check itself, and tells all of it.
 * The variable `test.end` in its environment says how it ends.
 */
#include "machine.h"

#define KERNBASE 0xffffffff80000000ull

enum {
	INFO_END = 0,
	INFO_NAME = 1,
	INFO_TYPE = 2,
	INFO_ADDR = 3,
	INFO_SIZE = 4,
	INFO_ARGS = 6,
	METADATA = 0x8000,
	ELFHDR = METADATA | 0x2,
	SSYM = METADATA | 0x3,
	ESYM = METADATA | 0x4,
	DYNAMIC = METADATA | 0x5,
	ENVP = METADATA | 0x6,
	HOWTO = METADATA | 0x7,
	KERNEND = METADATA | 0x8,
	SHDR = METADATA | 0x9,
	SMAP = METADATA | 0x1001,
	MODULEP = METADATA | 0x1006,
	MOST_RECORDS = 200,
};

struct record {
	u32 type, size;
	u8 data[];
};

struct symbol {
	u32 name;
	u8 info, other;
	u16 section;
	u64 value, size;
};

struct section {
	u32 name, type;
	u64 flags, address, offset, size;
	u32 link, info;
	u64 alignment, entry_size;
};

extern const u8 start_of_kernel[], end_of_kernel[];
void btext(void);

static u64 file_address, symbols_start;
static const char *environment;

static const void *virtual_of(u64 physical)
{
	return (const void *)(KERNBASE + physical);
}

static u64 quad(const struct record *record)
{
	u64 value = 0;

	for (u32 n = 0; n < 8 && n < record->size; n++)
		value |= (u64)record->data[n] << 8 * n;
	return value;
}

/* The address that the symbol table has for a name, or 0. */
static u64 look_up(u64 start, const char *name)
{
	u64 size = *(const u64 *)virtual_of(start);
	const struct symbol *symbols = virtual_of(start + 8);
	const char *names = virtual_of(start + 8 + (size + 7) / 8 * 8 + 8);

	for (u64 n = 0; n < size / sizeof *symbols; n++)
		if (equal(names + symbols[n].name, name))
			return symbols[n].value;
	return 0;
}

static void tell_map(const struct record *record)
{
	for (u32 at = 0; at + 20 <= record->size; at += 20) {
		const u32 *entry = (const u32 *)(record->data + at);

		tell("smap.base", (u64)entry[1] << 32 | entry[0]);
		tell("smap.length", (u64)entry[3] << 32 | entry[2]);
		tell("smap.type", entry[4]);
	}
}

/* The content of a relocatable object, section by section. */
static void tell_sections(const struct record *record)
{
	const struct section *section = (const struct section *)record->data;
	u32 count = record->size / sizeof *section;

	tell("shdr.count", count);
	for (u32 n = 0; n < count; n++, section++) {
		const u8 *content = virtual_of(section->address);

		if (section->address == 0 || section->size == 0)
			continue;
		tell("shdr.index", n);
		tell("shdr.sum", checksum(content, section->size));
	}
}

static int is_own_header(const struct record *record)
{
	if (record->size != 64)
		return 0;
	for (u32 n = 0; n < 64; n++)
		if (record->data[n] != start_of_kernel[n])
			return 0;
	return 1;
}

static void tell_metadata(const struct record *record)
{
	switch (record->type) {
	case ELFHDR:
		tell("elfhdr.own", is_own_header(record));
		tell("elfhdr.sum", checksum(record->data, record->size));
		break;
	case SSYM:
		symbols_start = quad(record);
		tell("ssym", symbols_start);
		break;
	case ESYM:
		tell("esym", quad(record));
		break;
	case DYNAMIC:
		tell("dynamic", quad(record));
		break;
	case ENVP:
		tell("envp", quad(record));
		environment = virtual_of(quad(record));
		break;
	case HOWTO:
		tell("howto.size", record->size);
		tell("howto", *(const u32 *)record->data);
		break;
	case KERNEND:
		tell("kernend", quad(record));
		break;
	case MODULEP:
		tell("modulep", quad(record));
		break;
	case SHDR:
		tell_sections(record);
		break;
	case SMAP:
		tell_map(record);
		break;
	default:
		tell("unknown", record->type);
	}
}

static void tell_record(const struct record *record)
{
	switch (record->type) {
	case INFO_NAME:
		tell_text("name", (const char *)record->data);
		break;
	case INFO_TYPE:
		tell_text("type", (const char *)record->data);
		break;
	case INFO_ARGS:
		tell_text("args", (const char *)record->data);
		break;
	case INFO_ADDR:
		file_address = quad(record);
		tell("addr", file_address);
		break;
	case INFO_SIZE:
		tell("size", quad(record));
		tell("sum", checksum(virtual_of(file_address), quad(record)));
		break;
	default:
		tell_metadata(record);
	}
}

static u64 tell_records(u64 modulep)
{
	u64 at = modulep;

	for (int n = 0; n < MOST_RECORDS; n++) {
		const struct record *record = virtual_of(at);

		at += sizeof *record + (record->size + 7) / 8 * 8;
		if (record->type == INFO_END) {
			tell("records", n);
			return at;
		}
		tell_record(record);
	}
	say("no end\n");
	return at;
}

static void tell_environment(void)
{
	for (const char *text = environment; *text; text++) {
		tell_text("env", text);
		while (*text)
			text++;
	}
}

static const char *variable(const char *name)
{
	for (const char *text = environment; *text; text++) {
		const char *a = text, *b = name;

		while (*b && *a == *b)
			a++, b++;
		if (!*b && *a == '=')
			return a + 1;
		while (*text)
			text++;
	}
	return 0;
}

static void tell_processor(void)
{
	u64 cr0, cr3, cr4, flags;
	u32 low, high;
	u16 cs, ss;
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) gdt;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("pushf; pop %0" : "=r"(flags));
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0xc0000080));
	__asm__ volatile("mov %%cs, %0; mov %%ss, %1" : "=r"(cs), "=r"(ss));
	__asm__ volatile("sgdt %0" : "=m"(gdt));
	tell("cr0", cr0);
	tell("cr3", cr3);
	tell("cr4", cr4);
	tell("rflags.if", flags >> 9 & 1);
	tell("efer", (u64)high << 32 | low);
	tell("cs", cs);
	tell("ss", ss);
	tell("gdt.base", gdt.base);
	tell("gdt.limit", gdt.limit);
}

/* Every GiB of addresses shows the first GiB of RAM. */
static void tell_aliases(void)
{
	u64 offset = (u64)start_of_kernel - KERNBASE;
	u64 own = *(const u64 *)start_of_kernel;

	tell("alias.identity", *(const u64 *)offset == own);
	tell("alias.third", *(const u64 *)(offset + (3ull << 30)) == own);
	tell("alias.high", *(const u64 *)(offset + (511ull << 39 | ~0ull << 48)) == own);
}

/* What bhyve leaves below 1 MiB. */
static void tell_tables(void)
{
	tell("rsdp", find_word(virtual_of(0xf2400), "RSD PTR ") != 0);
	tell("mptable", *(const u32 *)virtual_of(0xf0000) == 0x5f504d5f);
	tell("smbios", *(const u32 *)virtual_of(0xf1000) == 0x5f4d535f);
}

void __attribute__((noreturn)) start(u64 modulep, u64 kernend, u64 rsp)
{
	tell("rsp", rsp);
	tell("stack.modulep", modulep);
	tell("stack.kernend", kernend);
	tell_processor();
	tell_aliases();
	tell("own.start", (u64)start_of_kernel - KERNBASE);
	tell("own.end", (u64)end_of_kernel - KERNBASE);
	tell("end", tell_records(modulep));
	tell("symbol.btext", look_up(symbols_start, "btext") == (u64)btext);
	tell("symbol.none", look_up(symbols_start, "no such symbol"));
	tell_environment();
	tell_tables();
	finish(variable("test.end"));
}

__asm__(".globl btext\n"
	".type btext, @function\n"
	"btext:\n"
	"	mov 4(%rsp), %edi\n"
	"	mov 8(%rsp), %esi\n"
	"	mov %rsp, %rdx\n"
	"	mov $stack_top, %rsp\n"
	"	call start\n");
