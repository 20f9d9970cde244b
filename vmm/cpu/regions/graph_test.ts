// Structure of control-flow graphs: what is emitted at a branch, what follows its
// dominator, what repeats, and what cannot be structured.

import { assertEquals } from "@std/assert";
import { Node, structure } from "./graph.ts";

// Nodes by number, from branches as pairs; 0 is the head.
function graph(edges: readonly (readonly [number, number])[]): Node[] {
  const count = Math.max(...edges.flat()) + 1;
  const nodes = Array.from({ length: count }, (_, n) => new Node(n));
  edges.forEach(([from, to], owner) =>
    nodes[from]!.edges.set(owner, nodes[to]!)
  );
  return nodes;
}

function starts(nodes: readonly Node[]): number[] {
  return nodes.map((node) => node.start);
}

Deno.test("a node that two branches lead to follows their dominator", () => {
  const nodes = graph([[0, 1], [0, 2], [1, 3], [2, 3]]);
  structure(nodes[0]!);
  assertEquals(nodes.map((node) => node.entries), [0, 1, 1, 2]);
  assertEquals(starts(nodes[0]!.joins), [3]);
  assertEquals(nodes.some((node) => node.isLoop), false);
});

Deno.test("two branches of one block to another make a join of it", () => {
  const nodes = graph([[0, 1], [0, 1]]);
  structure(nodes[0]!);
  assertEquals(starts(nodes[0]!.joins), [1]);
});

Deno.test("branches back make loops, one inside the other", () => {
  const nodes = graph([[0, 1], [1, 2], [2, 2], [2, 1], [1, 3]]);
  const order = structure(nodes[0]!);
  assertEquals(nodes.map((node) => node.isLoop), [false, true, true, false]);
  assertEquals(nodes[3]!.dominator.start, 1);
  assertEquals(order[0]!.start, 0);
});

Deno.test("a loop with two entries is cut, and then has one", () => {
  const nodes = graph([[0, 1], [0, 2], [1, 2], [2, 1]]);
  structure(nodes[0]!);
  const kept = nodes.flatMap((node) => [...node.edges.values()]).length;
  assertEquals(kept, 3);
  assertEquals(nodes.some((node) => node.isLoop), false);
});

Deno.test("what cannot be reached any more is left out", () => {
  const nodes = graph([[0, 0], [1, 0]]);
  assertEquals(starts(structure(nodes[0]!)), [0]);
  assertEquals(nodes[0]!.entries, 0);
});
