// The opcodes of the x87's instructions as FNSTENV tells of them (Intel SDM vol. 1,
// 8.1.9): the low bits of the first byte, then ModR/M with what is not fixed as zeros.

type Run = readonly [first: number, names: string];

/** With memory or ST(i): names by the middle bits of ModR/M, `-` where there is none. */
const BY_GROUP: readonly Run[] = [
  [
    0x000,
    "Fadd_m32fp Fmul_m32fp Fcom_m32fp Fcomp_m32fp Fsub_m32fp Fsubr_m32fp Fdiv_m32fp Fdivr_m32fp",
  ],
  [
    0x0c0,
    "Fadd_st0_sti Fmul_st0_sti Fcom_st0_sti Fcomp_st0_sti Fsub_st0_sti Fsubr_st0_sti Fdiv_st0_sti Fdivr_st0_sti",
  ],
  [
    0x100,
    "Fld_m32fp - Fst_m32fp Fstp_m32fp Fldenv_m14byte Fldcw_m2byte Fnstenv_m14byte Fnstcw_m2byte",
  ],
  // Environments have other forms where operands are of 32 bits.
  [0x120, "Fldenv_m28byte - Fnstenv_m28byte"],
  [0x1c0, "Fld_sti Fxch_st0_sti Fnop Fstpnce_sti"],
  [
    0x200,
    "Fiadd_m32int Fimul_m32int Ficom_m32int Ficomp_m32int Fisub_m32int Fisubr_m32int Fidiv_m32int Fidivr_m32int",
  ],
  [0x2c0, "Fcmovb_st0_sti Fcmove_st0_sti Fcmovbe_st0_sti Fcmovu_st0_sti"],
  [
    0x300,
    "Fild_m32int Fisttp_m32int Fist_m32int Fistp_m32int - Fld_m80fp - Fstp_m80fp",
  ],
  [
    0x3c0,
    "Fcmovnb_st0_sti Fcmovne_st0_sti Fcmovnbe_st0_sti Fcmovnu_st0_sti - Fucomi_st0_sti Fcomi_st0_sti",
  ],
  [
    0x400,
    "Fadd_m64fp Fmul_m64fp Fcom_m64fp Fcomp_m64fp Fsub_m64fp Fsubr_m64fp Fdiv_m64fp Fdivr_m64fp",
  ],
  [
    0x4c0,
    "Fadd_sti_st0 Fmul_sti_st0 Fcom_st0_sti_DCD0 Fcomp_st0_sti_DCD8 Fsubr_sti_st0 Fsub_sti_st0 Fdivr_sti_st0 Fdiv_sti_st0",
  ],
  [
    0x500,
    "Fld_m64fp Fisttp_m64int Fst_m64fp Fstp_m64fp Frstor_m94byte - Fnsave_m94byte Fnstsw_m2byte",
  ],
  [0x520, "Frstor_m108byte - Fnsave_m108byte"],
  [
    0x5c0,
    "Ffree_sti Fxch_st0_sti_DDC8 Fst_sti Fstp_sti Fucom_st0_sti Fucomp_st0_sti",
  ],
  [
    0x600,
    "Fiadd_m16int Fimul_m16int Ficom_m16int Ficomp_m16int Fisub_m16int Fisubr_m16int Fidiv_m16int Fidivr_m16int",
  ],
  [
    0x6c0,
    "Faddp_sti_st0 Fmulp_sti_st0 Fcomp_st0_sti_DED0 - Fsubrp_sti_st0 Fsubp_sti_st0 Fdivrp_sti_st0 Fdivp_sti_st0",
  ],
  [
    0x700,
    "Fild_m16int Fisttp_m16int Fist_m16int Fistp_m16int Fbld_m80bcd Fild_m64int Fbstp_m80bcd Fistp_m64int",
  ],
  [
    0x7c0,
    "Ffreep_sti Fxch_st0_sti_DFC8 Fstp_sti_DFD0 Fstp_sti_DFD8 Fnstsw_AX Fucomip_st0_sti Fcomip_st0_sti",
  ],
];

/** All of ModR/M is fixed: names by its last bits. */
const BY_LAST_BITS: readonly Run[] = [
  [0x1e0, "Fchs Fabs - - Ftst Fxam"],
  [0x1e8, "Fld1 Fldl2t Fldl2e Fldpi Fldlg2 Fldln2 Fldz"],
  [0x1f0, "F2xm1 Fyl2x Fptan Fpatan Fxtract Fprem1 Fdecstp Fincstp"],
  [0x1f8, "Fprem Fyl2xp1 Fsqrt Fsincos Frndint Fscale Fsin Fcos"],
  [0x2e9, "Fucompp"],
  [0x3e0, "Fneni Fndisi Fnclex Fninit Fnsetpm"],
  [0x6d9, "Fcompp"],
];

function opcodesOf(runs: readonly Run[], step: number): [string, number][] {
  return runs.flatMap(([first, names]) =>
    names.split(" ").map((
      name,
      n,
    ): [string, number] => [name, first + n * step])
  );
}

/** The opcodes by the names of their forms. */
export const X87_OPCODES: ReadonlyMap<string, number> = new Map([
  ...opcodesOf(BY_GROUP, 8),
  ...opcodesOf(BY_LAST_BITS, 1),
]);
