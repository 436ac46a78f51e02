//! The levels of all retained topics.
//!
//! A node is one level of one or more topics; it knows its parent and its children by the *name* of
//! their level. Names are interned: `status` under a million devices is one name, and that name
//! knows its nodes, so that `+/+/alarm` can start from the few nodes called `alarm`. Topics that
//! begin with `$` hang on a root of their own, out of reach of a leading wildcard [MQTT-4.7.2-1].
//!
//! Every node has a message at or below it: with its last one it goes. So a walk over a part of the
//! tree costs what the messages in it cost.

use ahash::RandomState;
use compact_str::CompactString;

use crate::base::slab::{Key, Slab};

use super::id_map::IdMap;
use super::text_table::TextTable;

pub(super) struct Tree {
    nodes: Slab<Node>,
    names: Slab<Name>,
    name_table: TextTable,
    hasher: RandomState,
    /// Bytes allocated by maps and long names.
    heap_bytes: usize,
}

pub(super) struct Node {
    /// Index of the level's name.
    name: u32,
    parent: u32,
    /// Index of the message whose topic ends here, or [`NONE`].
    pub(super) message: u32,
    /// Messages at this node and below it.
    pub(super) below: u32,
    /// Name of the next level -> its node.
    pub(super) children: IdMap<u32>,
}

pub(super) struct Name {
    text: CompactString,
    /// The nodes with this name.
    pub(super) nodes: IdMap<()>,
}

pub(super) const NONE: u32 = u32::MAX;
/// Roots are the first two nodes and stay.
const ROOT: u32 = 0;
const DOLLAR_ROOT: u32 = 1;

impl Tree {
    pub(super) fn new(hasher: RandomState) -> Self {
        let mut nodes = Slab::default();
        for _ in [ROOT, DOLLAR_ROOT] {
            nodes.insert(Node {
                name: NONE,
                parent: NONE,
                message: NONE,
                below: 0,
                children: IdMap::Empty,
            });
        }
        Self {
            nodes,
            names: Slab::default(),
            name_table: TextTable::new(),
            hasher,
            heap_bytes: 0,
        }
    }

    /// Where topics, or filters, that begin like this one hang.
    pub(super) fn root_of(text: &str) -> u32 {
        if text.starts_with('$') {
            DOLLAR_ROOT
        } else {
            ROOT
        }
    }

    pub(super) fn is_root(index: u32) -> bool {
        index <= DOLLAR_ROOT
    }

    pub(super) fn node(&self, index: u32) -> &Node {
        self.nodes.at(index).expect("nodes name nodes that exist")
    }

    /// The node of a key, if it still is the one.
    pub(super) fn node_of_key(&self, key: Key) -> Option<&Node> {
        self.nodes.get(key)
    }

    pub(super) fn node_key(&self, index: u32) -> Option<Key> {
        self.nodes.key_at(index)
    }

    /// The name of a key, unless every topic with it has gone.
    pub(super) fn name_of_key(&self, key: Key) -> Option<&Name> {
        self.names.get(key)
    }

    pub(super) fn name_key(&self, text: &str) -> Option<Key> {
        self.names.key_at(self.find_name(text, self.hash(text))?)
    }

    pub(super) fn hash(&self, text: &str) -> u64 {
        self.hasher.hash_one(text)
    }

    /// Whether the node is the end of this topic.
    pub(super) fn is_topic(&self, index: u32, topic: &str) -> bool {
        let mut at = index;
        for level in topic.rsplit('/') {
            if Self::is_root(at) {
                return false;
            }
            let node = self.node(at);
            if self.name(node.name).text != level {
                return false;
            }
            at = node.parent;
        }
        Self::is_root(at)
    }

    /// Writes the topic that ends at the node.
    pub(super) fn write_topic(&self, index: u32, topic: &mut String) {
        topic.clear();
        let mut names: smallvec::SmallVec<[u32; 16]> = smallvec::SmallVec::new();
        let mut at = index;
        while !Self::is_root(at) {
            let node = self.node(at);
            names.push(node.name);
            at = node.parent;
        }
        for (depth, &name) in names.iter().rev().enumerate() {
            if depth > 0 {
                topic.push('/');
            }
            topic.push_str(&self.name(name).text);
        }
    }

    /// Name and parent of a node below a root.
    pub(super) fn step_up(&self, index: u32) -> (u32, u32) {
        let node = self.node(index);
        (node.name, node.parent)
    }

    /// Hangs a message on the end of a topic that has none, and gives the node.
    pub(super) fn add(&mut self, topic: &str, message: u32) -> u32 {
        let mut at = Self::root_of(topic);
        self.node_mut(at).below += 1;
        for level in topic.split('/') {
            let name = self.intern(level);
            at = match self.node(at).children.get(name) {
                Some(child) => child,
                None => self.add_child(at, name),
            };
            self.node_mut(at).below += 1;
        }
        let node = self.node_mut(at);
        assert!(
            node.message == NONE,
            "a topic with a message is replaced, not added"
        );
        node.message = message;
        at
    }

    /// Takes a message off its node, and the nodes and names that are of no use without it.
    pub(super) fn remove(&mut self, index: u32) {
        self.node_mut(index).message = NONE;
        let mut at = index;
        loop {
            let node = self.node_mut(at);
            node.below -= 1;
            let (unused, name, parent) = (node.below == 0, node.name, node.parent);
            if Self::is_root(at) {
                return;
            }
            if unused {
                self.remove_child(parent, name, at);
            }
            at = parent;
        }
    }

    /// Bytes allocated.
    pub(super) fn bytes(&self) -> usize {
        self.nodes.bytes() + self.names.bytes() + self.name_table.bytes() + self.heap_bytes
    }

    /// The same without what is kept for reuse.
    pub(super) fn used_bytes(&self) -> usize {
        let name = size_of::<Name>() + TextTable::ENTRY_BYTES;
        self.nodes.len() as usize * size_of::<Node>()
            + self.names.len() as usize * name
            + self.heap_bytes
    }

    fn intern(&mut self, text: &str) -> u32 {
        let hash = self.hash(text);
        if let Some(name) = self.find_name(text, hash) {
            return name;
        }
        let name = Name {
            text: CompactString::new(text),
            nodes: IdMap::Empty,
        };
        self.heap_bytes += name.text_heap_bytes();
        let index = self.names.insert(name).index;
        self.name_table.insert(hash, index);
        index
    }

    fn find_name(&self, text: &str, hash: u64) -> Option<u32> {
        self.name_table
            .find(hash, |index| self.name(index).text == text)
    }

    fn add_child(&mut self, parent: u32, name: u32) -> u32 {
        let child = Node {
            name,
            parent,
            message: NONE,
            below: 0,
            children: IdMap::Empty,
        };
        let index = self.nodes.insert(child).index;
        change(
            &mut self.heap_bytes,
            children_of(&mut self.nodes, parent),
            |children| {
                children.insert(name, index);
            },
        );
        change(
            &mut self.heap_bytes,
            nodes_of(&mut self.names, name),
            |nodes| {
                nodes.insert(index, ());
            },
        );
        index
    }

    fn remove_child(&mut self, parent: u32, name: u32, index: u32) {
        change(
            &mut self.heap_bytes,
            children_of(&mut self.nodes, parent),
            |children| {
                children.remove(name);
            },
        );
        change(
            &mut self.heap_bytes,
            nodes_of(&mut self.names, name),
            |nodes| {
                nodes.remove(index);
            },
        );
        self.nodes.remove_at(index);
        if self.name(name).nodes.len() > 0 {
            return;
        }
        if let Some(unused) = self.names.remove_at(name) {
            self.heap_bytes -= unused.text_heap_bytes();
            self.name_table.remove(self.hash(&unused.text), name);
        }
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        self.nodes
            .at_mut(index)
            .expect("nodes name nodes that exist")
    }

    fn name(&self, index: u32) -> &Name {
        self.names
            .at(index)
            .expect("a name stays as long as a node has it")
    }
}

impl Name {
    fn text_heap_bytes(&self) -> usize {
        if self.text.is_heap_allocated() {
            self.text.capacity()
        } else {
            0
        }
    }
}

fn children_of(nodes: &mut Slab<Node>, index: u32) -> &mut IdMap<u32> {
    &mut nodes
        .at_mut(index)
        .expect("nodes name nodes that exist")
        .children
}

fn nodes_of(names: &mut Slab<Name>, index: u32) -> &mut IdMap<()> {
    &mut names
        .at_mut(index)
        .expect("a name stays as long as a node has it")
        .nodes
}

/// Changes a map and keeps the count of its bytes.
fn change<V: Copy>(bytes: &mut usize, map: &mut IdMap<V>, how: impl FnOnce(&mut IdMap<V>)) {
    let before = map.heap_bytes();
    how(map);
    *bytes = *bytes - before + map.heap_bytes();
}
