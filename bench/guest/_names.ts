import { HOST_SIGNATURES } from "../../vmm/cpu/runtime/host.ts";
import { RUNTIME_SIGNATURES } from "../../vmm/cpu/runtime/signatures.ts";
import { getRuntimeModule } from "../../vmm/cpu/handlers.ts";
const names=[...Object.keys(HOST_SIGNATURES),...Object.keys(RUNTIME_SIGNATURES)];
for (const n of [42,43,44,49,197]) console.log(n, names[n]);
const h=[...getRuntimeModule().handlers.entries()];
const base=names.length; // softfloat functions come between
for (const n of [1106,876,847,311,31]) console.log(n, names[n] ?? "?");
console.log(names.length);
