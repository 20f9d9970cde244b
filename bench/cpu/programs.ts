// The programs that `bench cpu` measures, as 64-bit machine code with its assembly
// beside it. All count RCX down; RSI and RDI point to buffers of 1 MiB each.

/** A measured loop. */
export interface Program {
  /** its row in the table */
  readonly name: string;
  /** machine code; it ends with the last instruction of the loop */
  readonly code: readonly number[];
  /** instructions of one turn of the loop */
  readonly instructions: number;
  /** turns of the loop in one call */
  readonly turns: number;
  /** `user` runs natively as it is; `system` needs the privileged set-up */
  readonly kind: "user" | "system";
}

const INTEGER = [
  ...[0x31, 0xdb], //                   xor  ebx, ebx
  ...[0x48, 0x31, 0xc3], //        1:   xor  rbx, rax
  ...[0x48, 0x01, 0xd8], //             add  rax, rbx
  ...[0x48, 0x8d, 0x54, 0x43, 0x07], // lea  rdx, [rbx+rax*2+7]
  ...[0x48, 0xc1, 0xe8, 0x03], //       shr  rax, 3
  ...[0x48, 0x29, 0xd0], //             sub  rax, rdx
  ...[0x48, 0x83, 0xe9, 0x01], //       sub  rcx, 1
  ...[0x75, 0xe8], //                   jnz  1b
];

const MIXED = [
  ...[0x48, 0x8b, 0x06], //        1:   mov  rax, [rsi]
  ...[0x48, 0x31, 0xd0], //             xor  rax, rdx
  ...[0x48, 0x01, 0xc3], //             add  rbx, rax
  ...[0x48, 0x89, 0x1f], //             mov  [rdi], rbx
  ...[0x48, 0x83, 0xc6, 0x08], //       add  rsi, 8
  ...[0x48, 0x83, 0xc7, 0x08], //       add  rdi, 8
  ...[0x48, 0xff, 0xc9], //             dec  rcx
  ...[0x75, 0xe7], //                   jnz  1b
];

const CALLS = [
  ...[0xeb, 0x05], //                   jmp  2f
  ...[0x48, 0x83, 0xc0, 0x01], //  1:   add  rax, 1
  ...[0xc3], //                         ret
  ...[0xe8, 0xf6, 0xff, 0xff, 0xff], // 2: call 1b
  ...[0x48, 0xff, 0xc9], //             dec  rcx
  ...[0x75, 0xf6], //                   jnz  2b
];

const COPY = [
  ...[0x48, 0x8b, 0x06], //        1:   mov  rax, [rsi]
  ...[0x48, 0x8b, 0x56, 0x08], //       mov  rdx, [rsi+8]
  ...[0x48, 0x89, 0x07], //             mov  [rdi], rax
  ...[0x48, 0x89, 0x57, 0x08], //       mov  [rdi+8], rdx
  ...[0x48, 0x83, 0xc6, 0x10], //       add  rsi, 16
  ...[0x48, 0x83, 0xc7, 0x10], //       add  rdi, 16
  ...[0x48, 0xff, 0xc9], //             dec  rcx
  ...[0x75, 0xe5], //                   jnz  1b
];

const REP = [
  ...[0x48, 0x89, 0xca], //             mov  rdx, rcx
  ...[0x49, 0x89, 0xf0], //             mov  r8, rsi
  ...[0x49, 0x89, 0xf9], //             mov  r9, rdi
  ...[0x4c, 0x89, 0xc6], //        1:   mov  rsi, r8
  ...[0x4c, 0x89, 0xcf], //             mov  rdi, r9
  ...[0xb9, 0x00, 0x20, 0x00, 0x00], // mov  ecx, 8192
  ...[0xf3, 0x48, 0xa5], //             rep  movsq
  ...[0x48, 0xff, 0xca], //             dec  rdx
  ...[0x75, 0xed], //                   jnz  1b
];

const STRIDE = [
  ...[0x48, 0x8b, 0x06], //        1:   mov  rax, [rsi]
  ...[0x48, 0x01, 0xc3], //             add  rbx, rax
  ...[0x48, 0x81, 0xc6, 0x00, 0x10, 0x00, 0x00], // add rsi, 4096
  ...[0x48, 0xff, 0xca], //             dec  rdx
  ...[0x75, 0xee], //                   jnz  1b
  ...[0x48, 0x81, 0xee, 0x00, 0x00, 0x10, 0x00], // sub rsi, 0x100000
  ...[0xba, 0x00, 0x01, 0x00, 0x00], // mov  edx, 256
  ...[0x48, 0xff, 0xc9], //             dec  rcx
  ...[0x75, 0xdd], //                   jnz  1b
];

const SSE2 = [
  ...[0xf2, 0x0f, 0x10, 0x06], //  1:   movsd xmm0, [rsi]
  ...[0xf2, 0x0f, 0x59, 0xc1], //       mulsd xmm0, xmm1
  ...[0xf2, 0x0f, 0x58, 0x07], //       addsd xmm0, [rdi]
  ...[0xf2, 0x0f, 0x11, 0x07], //       movsd [rdi], xmm0
  ...[0x48, 0x83, 0xc6, 0x08], //       add  rsi, 8
  ...[0x48, 0x83, 0xc7, 0x08], //       add  rdi, 8
  ...[0x48, 0xff, 0xc9], //             dec  rcx
  ...[0x75, 0xe3], //                   jnz  1b
];

// RCX is SYSCALL's; the count is in RDX. The handler is one SYSRETQ.
const SYSCALL = [
  ...[0x48, 0x89, 0xca], //             mov  rdx, rcx
  ...[0x0f, 0x05], //              1:   syscall
  ...[0x48, 0xff, 0xca], //             dec  rdx
  ...[0x75, 0xf9], //                   jnz  1b
];

// The handler of #UD adds 2 to the saved RIP and returns.
const EXCEPTION = [
  ...[0x0f, 0x0b], //              1:   ud2
  ...[0x48, 0xff, 0xc9], //             dec  rcx
  ...[0x75, 0xf9], //                   jnz  1b
];

/** The programs, in the order of the table. */
export const PROGRAMS: readonly Program[] = [
  {
    name: "integer loop",
    code: INTEGER,
    instructions: 7,
    turns: 100_000,
    kind: "user",
  },
  {
    name: "loads, stores, adds",
    code: MIXED,
    instructions: 8,
    turns: 100_000,
    kind: "user",
  },
  {
    name: "calls",
    code: CALLS,
    instructions: 5,
    turns: 100_000,
    kind: "user",
  },
  {
    name: "copy by loads",
    code: COPY,
    instructions: 8,
    turns: 60_000,
    kind: "user",
  },
  {
    name: "copy by REP MOVSQ (each move counts)",
    code: REP,
    instructions: 8192 + 5,
    turns: 400,
    kind: "user",
  },
  {
    name: "page-strided loads",
    code: STRIDE,
    instructions: 5 * 256,
    turns: 400,
    kind: "user",
  },
  {
    name: "SSE2 double loop",
    code: SSE2,
    instructions: 8,
    turns: 100_000,
    kind: "user",
  },
  {
    name: "SYSCALL round trip",
    code: SYSCALL,
    instructions: 4,
    turns: 50_000,
    kind: "system",
  },
  {
    name: "exception round trip (#UD)",
    code: EXCEPTION,
    instructions: 5,
    turns: 20_000,
    kind: "system",
  },
];
