// A region before it is compiled, as plain data that another thread can take: its
// blocks by their first records, the branches between them; and how it becomes code.

import { CpuModule } from "../cpu_module.ts";
import { HANDLER_TYPE } from "../record.ts";
import { FunctionBuilder } from "../wasm/mod.ts";
import {
  Changed,
  emitRegion,
  type RecordSource,
  type RegionKind,
} from "./emit.ts";
import { Node, structure } from "./graph.ts";

/** One region. */
export interface RegionPlan extends RegionKind {
  /** nodes, its head first: address of the block's first record, pages from the head's */
  readonly nodes: readonly (readonly [number, number])[];
  /** branches: number of the node, record that branches, number of the target */
  readonly edges: readonly (readonly [number, number, number])[];
}

/** Regions that are compiled into one module. */
export interface BatchPlan {
  readonly regions: readonly RegionPlan[];
  /** table index of the first region's function */
  readonly first: number;
}

function headOf(plan: RegionPlan): Node {
  const nodes = plan.nodes.map(([start, page]) => new Node(start, page));
  for (const [from, owner, to] of plan.edges) {
    nodes[from]!.edges.set(owner, nodes[to]!);
  }
  return nodes[0]!;
}

// Where code changed since it was planned there may be no region of it; what is there
// in its place is never entered, since its blocks are not the ones that it was made of.
function emitPlan(
  source: RecordSource,
  module: CpuModule,
  plan: RegionPlan,
): FunctionBuilder {
  const head = headOf(plan);
  structure(head);
  try {
    return emitRegion(source, module, head, plan);
  } catch (error) {
    if (!(error instanceof Changed)) throw error;
    const nothing = new FunctionBuilder(module.m, HANDLER_TYPE);
    nothing.unreachable();
    return nothing;
  }
}

/** Emits the module of a batch. */
export function emitBatch(
  source: RecordSource,
  { regions, first }: BatchPlan,
): Uint8Array<ArrayBuffer> {
  const module = new CpuModule("code");
  const bodies = regions.map((region) => emitPlan(source, module, region));
  // The functions come after all that their bodies import.
  const refs = bodies.map((body) => module.m.add("region", body));
  module.m.elements(first, refs);
  return module.m.encode();
}
