import { Prng } from "../fuzz/prng.ts";
import { ProgramRunner } from "./pair.ts";
import { ProgramMaker } from "./program.ts";
const random = new Prng(1); const maker = new ProgramMaker(random);
let program; for (let n=0;n<=2;n++) { program = maker.make(); if (n<2) random.between(1100,3000); }
const policy = { batch: 1, patience: 1, doublings: 0, share: 0, threshold: 1, blocks: 1 };
function stateAfter(compile: any, k: number) {
  const r = new ProgramRunner(compile); (r as any).machine;
  const p = Object.getOwnPropertyNames(r);
  const out: any = {};
  const orig = r.machine.run.bind(r.machine);
  r.machine.run = () => { const e = orig(k); for (const n of ["RAX","RCX","RDX","RSI","RBP","R8","R9","R10","R11","R12","R13","R14","R15","RSP","RIP","RFLAGS"] as const) out[n]=r.machine.get(n).toString(16); throw e; };
  try { r.run(program!); } catch (e) { if (e instanceof Error) throw e; out.code = (e as any).code; }
  return out;
}
const same=(k:number)=>{ const a=stateAfter(false,k), b=stateAfter(policy,k); return JSON.stringify(a)===JSON.stringify(b); };
let lo=1, hi=40000; if (same(hi)) console.log("same at", hi);
while (hi-lo>1) { const m=(lo+hi)>>1; if (same(m)) lo=m; else hi=m; }
console.log(lo,hi); console.log(stateAfter(false,lo), stateAfter(false,hi), stateAfter(policy,hi));
const { formatHex } = {formatHex:(b:Uint8Array)=>[...b].map(x=>x.toString(16).padStart(2,"0")).join(" ")};
const rip = parseInt(stateAfter(false,lo).RIP,16)-0x8000; console.log(rip, formatHex(program!.code.slice(rip-10, rip+20)));
const slot=Math.floor(rip/96); console.log(formatHex(program!.code.slice(slot*96,slot*96+96)));
