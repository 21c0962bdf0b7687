//! Circles in graphs of names.

use std::collections::{BTreeMap, BTreeSet};

/// Some circle of a graph, given as each name and the names that it points to; in the order of the
/// circle, beginning with the one that comes first in the list. Linear in the size of the graph.
pub(super) fn circle<'n>(edges: &[(&'n str, Vec<&'n str>)]) -> Option<Vec<&'n str>> {
    let index: BTreeMap<&str, usize> = (0..).zip(edges).map(|(i, (name, _))| (*name, i)).collect();
    let mut finished = vec![false; edges.len()];
    for start in 0..edges.len() {
        // The path from `start` to here: which name, and which of its edges comes next.
        let mut path: Vec<(usize, usize)> = vec![(start, 0)];
        let mut on_path = BTreeSet::from([start]);
        while let Some((node, next)) = path.last_mut() {
            let target = edges.get(*node).and_then(|(_, targets)| targets.get(*next));
            *next += 1;
            let Some(target) = target else {
                if let Some(done) = finished.get_mut(*node) {
                    *done = true;
                }
                on_path.remove(node);
                path.pop();
                continue;
            };
            let Some(target) = index.get(target).copied() else {
                continue;
            };
            if on_path.contains(&target) {
                let around = path
                    .iter()
                    .map(|(node, _)| *node)
                    .skip_while(|node| *node != target);
                let mut around: Vec<usize> = around.collect();
                let first = around.iter().min().copied().unwrap_or_default();
                while around.first().is_some_and(|node| *node != first) {
                    around.rotate_left(1);
                }
                let name = |node: usize| edges.get(node).map(|(name, _)| *name);
                return Some(around.into_iter().filter_map(name).collect());
            }
            if finished.get(target) == Some(&false) {
                path.push((target, 0));
                on_path.insert(target);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::circle;

    #[test]
    fn circles_are_found() {
        for (edges, expected) in [
            (vec![("a", vec![]), ("b", vec!["a"])], None),
            (vec![("a", vec!["a"])], Some(vec!["a"])),
            (
                vec![("a", vec!["b"]), ("b", vec!["a"])],
                Some(vec!["a", "b"]),
            ),
            (
                vec![
                    ("x", vec!["c"]),
                    ("a", vec!["b", "z"]),
                    ("b", vec!["c"]),
                    ("c", vec!["a"]),
                ],
                Some(vec!["a", "b", "c"]),
            ),
            (
                vec![
                    ("a", vec!["b", "c"]),
                    ("b", vec!["d"]),
                    ("c", vec!["d"]),
                    ("d", vec![]),
                ],
                None,
            ),
        ] {
            assert_eq!(circle(&edges), expected);
        }
    }

    #[test]
    fn long_chains_are_no_burden() {
        let names: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
        let edges: Vec<(&str, Vec<&str>)> = (0..names.len())
            .map(|i| {
                (
                    names[i].as_str(),
                    names.get(i + 1).map(String::as_str).into_iter().collect(),
                )
            })
            .collect();
        assert_eq!(circle(&edges), None);
    }
}
