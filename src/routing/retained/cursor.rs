//! A replay of the retained messages of one filter, in steps.
//!
//! **What it promises.** Between two calls the store may change in any way. A topic that exists from
//! the query to the end of the replay is offered exactly once, with the value it has at that moment.
//! One that comes or goes meanwhile is offered or not. Nothing is offered whose topic does not match
//! the filter.
//!
//! **How.** The walk goes depth first and visits children in the order of their names' indices,
//! which do not change while a topic exists. The position is the path of indices down to the node
//! in hand; a call goes down that path again, and where it has broken off goes on with the next
//! child. Literal levels of the filter are kept as keys with a generation: when one of them is gone,
//! every topic that existed throughout has been offered.
//!
//! **Where it begins.** Normally at the root, down the literal levels. Where a `+` would have to be
//! tried on more nodes than there are nodes with the name of a later literal level, it begins at
//! each of those (the anchor) and checks the levels above: `+/+/alarm` costs what there are alarms.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::base::slab::Key;

use super::tree::{NONE, Tree};
use super::{RetainedStore, Stored};

/// A replay's position. Holds no reference: the store may change between the calls.
pub struct Cursor {
    start: Start,
    /// The filter's levels, without a trailing `#`.
    levels: SmallVec<[Level; 8]>,
    open_end: bool,
    /// Names from the start's node (not included) down to the node in hand.
    path: SmallVec<[u32; 8]>,
    /// The node in hand has been visited; its children are next.
    visited: bool,
    /// Scratch for the topic offered.
    topic: String,
}

/// How a call of [`Cursor::next`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Every message has been offered; later calls say the same.
    Done,
    /// The budget is used up; there may be more.
    OutOfBudget,
    /// The receiver did not take a message; it will be offered first by the next call.
    Blocked,
}

enum Level {
    Literal(Key),
    Plus,
}

/// Where the walk begins.
enum Start {
    Nowhere,
    /// No wildcard: the node of the one topic.
    Topic(Key),
    Root(u32),
    Anchors {
        root: u32,
        /// The filter's level whose name the anchors have.
        level: usize,
        /// The anchor in hand, or the least index the next one may have.
        at: u32,
    },
}

impl Cursor {
    pub(super) fn new(tree: &Tree, topic_node: Option<u32>, filter: &str) -> Self {
        let mut cursor = Self {
            start: Start::Nowhere,
            levels: SmallVec::new(),
            open_end: false,
            path: SmallVec::new(),
            visited: false,
            topic: String::new(),
        };
        for level in filter.split('/') {
            cursor.levels.push(match level {
                "+" => Level::Plus,
                "#" => {
                    cursor.open_end = true;
                    break;
                }
                literal => match tree.name_key(literal) {
                    Some(key) => Level::Literal(key),
                    // No topic has this level.
                    None => return cursor,
                },
            });
        }
        let plus = cursor
            .levels
            .iter()
            .position(|level| matches!(level, Level::Plus));
        cursor.start = match plus {
            None if !cursor.open_end => topic_node
                .and_then(|node| tree.node_key(node))
                .map_or(Start::Nowhere, Start::Topic),
            None => Start::Root(Tree::root_of(filter)),
            Some(plus) => cursor.choose_start(tree, Tree::root_of(filter), plus),
        };
        cursor
    }

    /// Offers further messages to `on` until `budget` is used up, `on` breaks off, or all have been
    /// offered. Each node visited takes one from `budget`, whether it holds a message or not, so
    /// one budget may serve several replays. `on` breaks to say that it did not take the message.
    pub fn next<M: Stored>(
        &mut self,
        store: &RetainedStore<M>,
        now_us: u64,
        budget: &mut usize,
        mut on: impl FnMut(&str, &M) -> ControlFlow<()>,
    ) -> Progress {
        if !self.literals_exist(&store.tree) {
            self.start = Start::Nowhere;
        }
        let mut offer = |node: u32, topic: &mut String| {
            let Some(value) = store.live_at(node, now_us) else {
                return ControlFlow::Continue(());
            };
            store.tree.write_topic(node, topic);
            on(topic, value)
        };
        let progress = match self.start {
            Start::Nowhere => Progress::Done,
            Start::Topic(key) => self.visit_topic(&store.tree, key, budget, &mut offer),
            Start::Root(root) => self.walk(&store.tree, root, 0, budget, &mut offer),
            Start::Anchors { root, level, at } => {
                self.walk_anchors(&store.tree, root, level, at, budget, &mut offer)
            }
        };
        if progress == Progress::Done {
            self.start = Start::Nowhere;
        }
        progress
    }

    /// Compares what it costs to try the `+` at `plus` downwards with the number of anchors. With
    /// one `+` the downward cost is known; with more it is estimated by all messages there.
    fn choose_start(&self, tree: &Tree, root: u32, plus: usize) -> Start {
        let mut node = root;
        for level in &self.levels[..plus] {
            let Level::Literal(key) = level else { break };
            match tree.node(node).children.get(key.index) {
                Some(child) => node = child,
                None => return Start::Nowhere,
            }
        }
        let pluses = self
            .levels
            .iter()
            .filter(|level| matches!(level, Level::Plus))
            .count();
        let node = tree.node(node);
        let downwards = if pluses == 1 {
            node.children.len()
        } else {
            node.below as usize
        };
        let anchors = (plus..self.levels.len())
            .filter_map(|level| Some((self.nodes_at(tree, level)?, level)))
            .min();
        match anchors {
            Some((nodes, level)) if 2 * nodes < downwards => Start::Anchors { root, level, at: 0 },
            _ => Start::Root(root),
        }
    }

    /// How many nodes have the name of this literal level.
    fn nodes_at(&self, tree: &Tree, level: usize) -> Option<usize> {
        let Level::Literal(key) = self.levels.get(level)? else {
            return None;
        };
        Some(tree.name_of_key(*key)?.nodes.len())
    }

    fn literals_exist(&self, tree: &Tree) -> bool {
        self.levels.iter().all(|level| match level {
            Level::Literal(key) => tree.name_of_key(*key).is_some(),
            Level::Plus => true,
        })
    }

    fn visit_topic(
        &mut self,
        tree: &Tree,
        key: Key,
        budget: &mut usize,
        offer: &mut impl FnMut(u32, &mut String) -> ControlFlow<()>,
    ) -> Progress {
        if tree.node_of_key(key).is_none() {
            return Progress::Done;
        }
        if *budget == 0 {
            return Progress::OutOfBudget;
        }
        *budget -= 1;
        match offer(key.index, &mut self.topic) {
            ControlFlow::Continue(()) => Progress::Done,
            ControlFlow::Break(()) => Progress::Blocked,
        }
    }

    fn walk_anchors(
        &mut self,
        tree: &Tree,
        root: u32,
        level: usize,
        mut at: u32,
        budget: &mut usize,
        offer: &mut impl FnMut(u32, &mut String) -> ControlFlow<()>,
    ) -> Progress {
        let Some(Level::Literal(key)) = self.levels.get(level) else {
            return Progress::Done;
        };
        let Some(name) = tree.name_of_key(*key) else {
            return Progress::Done;
        };
        while let Some((anchor, ())) = name.nodes.first_from(at) {
            if anchor != at {
                self.path.clear();
                self.visited = false;
            }
            if self.is_anchor(tree, root, level, anchor) {
                let progress = self.walk(tree, anchor, level + 1, budget, offer);
                if progress != Progress::Done {
                    self.start = Start::Anchors {
                        root,
                        level,
                        at: anchor,
                    };
                    return progress;
                }
            } else if *budget == 0 {
                self.start = Start::Anchors {
                    root,
                    level,
                    at: anchor,
                };
                return Progress::OutOfBudget;
            } else {
                *budget -= 1;
            }
            at = anchor + 1;
            self.path.clear();
            self.visited = false;
        }
        Progress::Done
    }

    /// Whether the node is at the filter's `level` (its name is known to be right) and the levels
    /// above it match.
    fn is_anchor(&self, tree: &Tree, root: u32, level: usize, node: u32) -> bool {
        let (_, mut at) = tree.step_up(node);
        for above in self.levels[..level].iter().rev() {
            if Tree::is_root(at) {
                return false;
            }
            let (name, parent) = tree.step_up(at);
            if matches!(above, Level::Literal(key) if key.index != name) {
                return false;
            }
            at = parent;
        }
        at == root
    }

    /// Goes on below `start`, which is `depth` levels below the root.
    fn walk(
        &mut self,
        tree: &Tree,
        start: u32,
        depth: usize,
        budget: &mut usize,
        offer: &mut impl FnMut(u32, &mut String) -> ControlFlow<()>,
    ) -> Progress {
        let mut nodes: SmallVec<[u32; 16]> = SmallVec::new();
        nodes.push(start);
        if !self.go_down_again(tree, &mut nodes, depth) {
            return Progress::Done;
        }
        while let Some(&node) = nodes.last() {
            if !self.visited {
                if *budget == 0 {
                    return Progress::OutOfBudget;
                }
                *budget -= 1;
                let matches = self.ends_at(depth + self.path.len());
                if matches && offer(node, &mut self.topic).is_break() {
                    return Progress::Blocked;
                }
                self.visited = true;
            }
            if !self.step(tree, &mut nodes, depth, 0) {
                break;
            }
        }
        Progress::Done
    }

    /// Finds the nodes of the path again. Where it has broken off, goes on with what comes after.
    fn go_down_again(
        &mut self,
        tree: &Tree,
        nodes: &mut SmallVec<[u32; 16]>,
        depth: usize,
    ) -> bool {
        for at in 0..self.path.len() {
            let name = self.path[at];
            match tree.node(nodes[at]).children.get(name) {
                Some(child) => nodes.push(child),
                None => {
                    self.path.truncate(at);
                    return self.step(tree, nodes, depth, name);
                }
            }
        }
        true
    }

    /// To the next node: the first child whose name is not below `bound`, else the next sibling,
    /// else the next sibling of a node above. False at the end.
    fn step(
        &mut self,
        tree: &Tree,
        nodes: &mut SmallVec<[u32; 16]>,
        depth: usize,
        mut bound: u32,
    ) -> bool {
        while let Some(&node) = nodes.last() {
            let level = depth + self.path.len();
            if let Some((name, child)) = self.child_from(tree, node, level, bound) {
                self.path.push(name);
                nodes.push(child);
                self.visited = false;
                return true;
            }
            let Some(name) = self.path.pop() else {
                return false;
            };
            nodes.pop();
            bound = name + 1;
        }
        false
    }

    fn child_from(&self, tree: &Tree, node: u32, level: usize, bound: u32) -> Option<(u32, u32)> {
        let children = &tree.node(node).children;
        match self.levels.get(level) {
            Some(Level::Literal(key)) if key.index < bound => None,
            Some(Level::Literal(key)) => Some((key.index, children.get(key.index)?)),
            Some(Level::Plus) => children.first_from(bound),
            None if self.open_end => children.first_from(bound),
            None => None,
        }
    }

    /// Whether topics of this many levels match once their path does.
    fn ends_at(&self, depth: usize) -> bool {
        if self.open_end {
            depth >= self.levels.len()
        } else {
            depth == self.levels.len()
        }
    }
}

const _: () = assert!(NONE == u32::MAX, "an index plus one is an index or NONE");
