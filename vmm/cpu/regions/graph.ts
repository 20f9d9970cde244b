// The control flow of a region: its blocks, the branches between them, dominators
// and loops (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"). What
// cannot be written with loops and blocks, a loop with two entries, is cut: that
// branch leaves the region.

/** A block in a region, or one of several copies of it. */
export class Node {
  /** Branches that stay in the region, by the record that branches. */
  readonly edges = new Map<number, Node>();
  /** Position in reverse postorder. */
  order = -1;
  /** Its immediate dominator; its own for the head. */
  dominator: Node = this;
  /** How many branches come here, those that go back not counted. */
  entries = 0;
  /** Whether a branch comes back here. */
  isLoop = false;
  /** Nodes that it dominates immediately and where paths join, in order. */
  joins: Node[] = [];

  /**
   * @param start address of the block's first record
   * @param page pages from the head's to the block's
   */
  constructor(readonly start: number, readonly page = 0) {}
}

function reversePostorder(head: Node): Node[] {
  const seen = new Set<Node>([head]);
  const out: Node[] = [];
  const stack = [{ node: head, next: [...head.edges.values()] }];
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const to = top.next.pop();
    if (to === undefined) {
      out.push(top.node);
      stack.pop();
    } else if (!seen.has(to)) {
      seen.add(to);
      stack.push({ node: to, next: [...to.edges.values()] });
    }
  }
  out.reverse();
  out.forEach((node, order) => node.order = order);
  return out;
}

function nearest(a: Node, b: Node): Node {
  while (a !== b) {
    while (a.order > b.order) a = a.dominator;
    while (b.order > a.order) b = b.dominator;
  }
  return a;
}

function findDominators(nodes: readonly Node[]): void {
  const known = new Set<Node>([nodes[0]!]);
  const before = new Map<Node, Node[]>(nodes.map((node) => [node, []]));
  for (const node of nodes) {
    node.dominator = node;
    for (const to of node.edges.values()) before.get(to)!.push(node);
  }
  for (let changed = true; changed;) {
    changed = false;
    for (const node of nodes.slice(1)) {
      const [first, ...rest] = before.get(node)!.filter((n) => known.has(n));
      const found = rest.reduce(nearest, first!);
      known.add(node);
      if (node.dominator !== found) changed = true;
      node.dominator = found;
    }
  }
}

/** Whether every path to `b` leads through `a`. */
export function dominates(a: Node, b: Node): boolean {
  while (b.order > a.order) b = b.dominator;
  return a === b;
}

// Cuts branches back to what does not dominate them; answers whether there were any.
function cutIrreducible(nodes: readonly Node[]): boolean {
  let cut = false;
  for (const node of nodes) {
    for (const [owner, to] of node.edges) {
      if (to.order <= node.order && !dominates(to, node)) {
        node.edges.delete(owner);
        cut = true;
      }
    }
  }
  return cut;
}

/**
 * Orders the nodes that can be reached from the head and finds loops and joins.
 * Branches that cannot be structured are removed.
 */
export function structure(head: Node): readonly Node[] {
  let nodes: Node[];
  do {
    nodes = reversePostorder(head);
    findDominators(nodes);
  } while (cutIrreducible(nodes));
  for (const node of nodes) {
    node.entries = 0;
    node.isLoop = false;
    node.joins = [];
  }
  for (const node of nodes) {
    for (const to of node.edges.values()) {
      if (to.order <= node.order) to.isLoop = true;
      else to.entries++;
    }
  }
  for (const node of nodes.slice(1)) {
    if (node.entries > 1) node.dominator.joins.push(node);
  }
  return nodes;
}

/** Whether a page was executed on every path that leads to a node and through it. */
export function isPageKnown(from: Node, page: number): boolean {
  for (let node = from;; node = node.dominator) {
    if (node.page === page) return true;
    if (node.dominator === node) return false;
  }
}
