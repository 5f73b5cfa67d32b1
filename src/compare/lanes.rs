//! Where the nodes of a tree of futures are drawn: one row a future, lanes beside each other, as a version history is.

use std::collections::HashMap;

/// A node as the drawing needs it: its number and its parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knot {
    /// Its number.
    pub id: u64,
    /// The node that it branched from; one that is not in the list counts as none.
    pub parent: Option<u64>,
}

/// Where a node is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The node.
    pub id: u64,
    /// Row from the top, counted from 0; every row holds one node.
    pub row: usize,
    /// Lane from the left, counted from 0.
    pub lane: usize,
    /// Number of branches between it and its root.
    pub depth: usize,
    /// Row and lane of its parent: the line runs down the parent's row into this node's lane, then down to its row.
    pub parent: Option<(usize, usize)>,
}

/// Places every node. Children keep the order of the list; a node's first child goes on in its lane, every other one
/// gets the leftmost lane that is free from the parent's row down to the end of its own line, so that lines never cross
/// a node. Cycles (which no sound tree has) are cut at their first node in the list.
pub fn place(knots: &[Knot]) -> Vec<Placed> {
    let known: HashMap<u64, usize> = knots.iter().enumerate().map(|(i, k)| (k.id, i)).collect();
    let parent_at: Vec<Option<usize>> =
        knots.iter().map(|k| k.parent.and_then(|p| known.get(&p).copied())).collect();
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); knots.len()];
    for (i, parent) in parent_at.iter().enumerate() {
        if let Some(list) = parent.and_then(|p| children.get_mut(p)) {
            list.push(i);
        }
    }
    let mut layout = Layout { placed: Vec::new(), busy: Vec::new(), at: vec![None; knots.len()] };
    let roots = (0..knots.len()).filter(|i| parent_at.get(*i) == Some(&None));
    for root in roots.collect::<Vec<_>>() {
        layout.line(root, None, knots, &children);
    }
    // What is left hangs in a cycle.
    for i in 0..knots.len() {
        if layout.at.get(i) == Some(&None) {
            layout.line(i, None, knots, &children);
        }
    }
    layout.placed
}

struct Layout {
    placed: Vec<Placed>,
    /// Rows that each lane is taken in, both ends included.
    busy: Vec<Vec<(usize, usize)>>,
    /// Place in `placed` of each node.
    at: Vec<Option<usize>>,
}

impl Layout {
    /// Places a node with its first child, that one's first child and so on in one lane, then what branches off, the
    /// last branching point first. A stack and not recursion: a tree may be thousands of branches deep.
    fn line(&mut self, top: usize, parent: Option<usize>, knots: &[Knot], children: &[Vec<usize>]) {
        let mut open = vec![(top, parent)];
        while let Some((start, parent)) = open.pop() {
            if self.at.get(start) != Some(&None) {
                continue;
            }
            let mut chain = vec![start];
            let mut seen: std::collections::HashSet<usize> = chain.iter().copied().collect();
            while let Some(next) =
                chain.last().and_then(|last| children.get(*last)).and_then(|list| list.first().copied())
            {
                if self.at.get(next) != Some(&None) || !seen.insert(next) {
                    break;
                }
                chain.push(next);
            }
            let first_row = self.placed.len();
            let last_row = first_row + chain.len() - 1;
            let above = parent.and_then(|p| self.placed.get(p)).copied();
            let from = above.map_or(first_row, |p| p.row + 1);
            let lane = self.free_lane(from, last_row);
            let (mut up, mut depth) = (above.map(|p| (p.row, p.lane)), above.map_or(0, |p| p.depth + 1));
            for node in &chain {
                let row = self.placed.len();
                let Some(knot) = knots.get(*node) else { continue };
                if let Some(at) = self.at.get_mut(*node) {
                    *at = Some(row);
                }
                self.placed.push(Placed { id: knot.id, row, lane, depth, parent: up });
                (up, depth) = (Some((row, lane)), depth + 1);
            }
            // The stack turns the order around: the last one pushed is drawn next, right under this line's end.
            for node in &chain {
                let at = self.at.get(*node).copied().flatten();
                let others = children.get(*node).map(Vec::as_slice).unwrap_or_default();
                open.extend(others.iter().skip(1).rev().map(|child| (*child, at)));
            }
        }
    }

    fn free_lane(&mut self, from: usize, to: usize) -> usize {
        let free = |rows: &Vec<(usize, usize)>| rows.iter().all(|(a, b)| *b < from || *a > to);
        let lane = self.busy.iter().position(free).unwrap_or(self.busy.len());
        match self.busy.get_mut(lane) {
            Some(rows) => rows.push((from, to)),
            None => self.busy.push(vec![(from, to)]),
        }
        lane
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn placed(list: &[(u64, u64)]) -> Vec<(u64, usize, usize)> {
        let knots: Vec<Knot> =
            list.iter().map(|(id, p)| Knot { id: *id, parent: (*p != 0).then_some(*p) }).collect();
        let placed = place(&knots);
        // No line runs through a node of another lane's row and lane.
        for p in &placed {
            let Some((row, _)) = p.parent else { continue };
            for other in &placed {
                let between = other.row > row && other.row < p.row;
                assert!(!(between && other.lane == p.lane), "{other:?} lies on the line to {p:?}");
            }
        }
        assert!(placed.iter().enumerate().all(|(i, p)| p.row == i));
        placed.iter().map(|p| (p.id, p.row, p.lane)).collect()
    }

    #[test]
    fn a_chain_is_one_lane_and_a_branch_another() {
        assert_eq!(placed(&[(1, 0), (2, 1), (3, 2)]), [(1, 0, 0), (2, 1, 0), (3, 2, 0)]);
        // 1 - 2 - 4, and 3 from 1: beside 2 and 4.
        assert_eq!(placed(&[(1, 0), (2, 1), (3, 1), (4, 2)]), [(1, 0, 0), (2, 1, 0), (4, 2, 0), (3, 3, 1)]);
    }

    #[test]
    fn lanes_are_used_again_when_their_lines_have_ended() {
        // Two branches, each from its own node of the main line; the lower one is drawn first.
        let lanes = placed(&[(1, 0), (2, 1), (3, 2), (4, 1), (5, 3)]);
        assert_eq!(lanes, [(1, 0, 0), (2, 1, 0), (3, 2, 0), (5, 3, 0), (4, 4, 1)]);
        // A second tree begins at the left again.
        let lanes = placed(&[(1, 0), (2, 1), (3, 1), (9, 0), (10, 9)]);
        assert_eq!(lanes[3..], [(9, 3, 0), (10, 4, 0)]);
        let lanes = placed(&[(1, 0), (2, 1), (3, 1), (4, 1), (5, 3)]);
        assert_eq!(lanes, [(1, 0, 0), (2, 1, 0), (3, 2, 1), (5, 3, 1), (4, 4, 2)]);
    }

    #[test]
    fn lost_parents_cycles_and_deep_trees_do_no_harm() {
        assert_eq!(placed(&[(1, 7), (2, 1)]), [(1, 0, 0), (2, 1, 0)]);
        assert_eq!(placed(&[(1, 2), (2, 1)]).len(), 2);
        assert_eq!(placed(&[(1, 1)]).len(), 1);
        let deep: Vec<Knot> =
            (1..=20_000u64).map(|id| Knot { id, parent: (id > 1).then(|| id - 1) }).collect();
        let places = place(&deep);
        assert!(places.iter().all(|p| p.lane == 0) && places.last().unwrap().depth == 19_999);
    }

    #[test]
    fn depth_and_parent_place_are_told() {
        let knots =
            [Knot { id: 1, parent: None }, Knot { id: 2, parent: Some(1) }, Knot { id: 3, parent: Some(1) }];
        let last = place(&knots)[2];
        assert_eq!((last.id, last.depth, last.parent), (3, 1, Some((0, 0))));
    }
}
