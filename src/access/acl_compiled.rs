//! Many rules in a form in which one question costs a few look-ups, not one comparison a rule.
//!
//! Rules are filed by whom they name (a user, a client id, a network of a certain size, anybody) and
//! below that in a tree of topic levels. A question walks the trees of those it concerns and keeps the
//! first rule, in the order of the file, that hits. A branch whose first rule is not before the best one
//! found so far is not entered. Each node of a tree is visited at most once, so the number of rules
//! bounds a question whatever its topic.
//!
//! What is left to be compared one by one: names given as regular expressions, attributes, listeners.

use ahash::RandomState;
use hashbrown::{HashMap, HashTable};
use smallvec::SmallVec;

use crate::access::acl::{
    Action, ActionSet, Filled, Level, Net, Pattern, Permission, Piece, Rule, Subject, Text, Topics,
    Verb, Who, fill,
};
use crate::mqtt::topic::has_wildcard;

/// No node, and a rule after all others.
const NONE: u32 = u32::MAX;
/// Marks the key of an edge for a literal text (`{eq, ...}`), which lies beside its tree.
const LITERAL: u32 = 1 << 31;

/// Rules, compiled; immutable and shared by all cores.
#[derive(Debug)]
pub struct CompiledRules {
    rules: Box<[Rule]>,
    heads: Vec<Head>,
    nodes: Vec<Node>,
    edges: HashTable<Edge>,
    hasher: RandomState,
    anybody: Option<Tree>,
    users: HashMap<Box<str>, Tree, RandomState>,
    clients: HashMap<Box<str>, Tree, RandomState>,
    /// By size of network.
    nets: Vec<(Net, HashMap<Net, Tree, RandomState>)>,
    /// Levels of the longest filter.
    levels_max: usize,
}

/// What is needed of a rule once its topic hits.
#[derive(Clone, Copy, Debug)]
struct Head {
    actions: ActionSet,
    permission: Permission,
    /// Being filed where it is says all about whom it concerns.
    is_settled: bool,
}

/// The rules for one key.
#[derive(Clone, Debug)]
struct Tree {
    root: u32,
    has_literals: bool,
    /// Rules about all topics.
    all: Vec<u32>,
    /// The first rule of the tree.
    least: u32,
}

#[derive(Debug)]
struct Node {
    /// Rules whose filter ends here.
    exact: Vec<u32>,
    /// Rules whose filter ends with `#` here.
    rest: Vec<u32>,
    /// The node behind `+`.
    any: u32,
    templates: Vec<TemplateEdge>,
    /// The first rule here and below.
    least: u32,
}

#[derive(Debug)]
struct TemplateEdge {
    pieces: Box<[Piece]>,
    child: u32,
    /// Denying rules here and below.
    denies: Vec<u32>,
}

#[derive(Debug)]
struct Edge {
    parent: u32,
    text: Box<str>,
    child: u32,
}

/// Whom a rule is filed under.
enum Key<'a> {
    Anybody,
    User(&'a str),
    Client(&'a str),
    Net(Net),
}

impl CompiledRules {
    /// Compiles rules; the first that hits decides.
    pub fn new(rules: Vec<Rule>) -> Self {
        let mut compiled = Self {
            heads: Vec::with_capacity(rules.len()),
            rules: Box::default(),
            nodes: Vec::new(),
            edges: HashTable::new(),
            // What is hashed is the operator's, what is looked up is not in there or finds its like.
            hasher: RandomState::with_seeds(0x6D69, 0x6C6C, 0x7261, 0x6365),
            anybody: None,
            users: HashMap::default(),
            clients: HashMap::default(),
            nets: Vec::new(),
            levels_max: 0,
        };
        for (index, rule) in rules.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(NONE);
            let mut keys = Vec::new();
            let is_settled = file_under(&rule.who, &mut keys);
            compiled.heads.push(Head {
                actions: rule.actions,
                permission: rule.permission,
                is_settled,
            });
            for key in keys {
                compiled.file(index, &key, rule);
            }
        }
        compiled.rules = rules.into();
        compiled
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the first rule that hits says. With `denies_overlap`, a denying rule hits a subscription
    /// also when it concerns but a part of what the filter matches.
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        action: Action,
        topic: &str,
        denies_overlap: bool,
    ) -> Option<Permission> {
        if denies_overlap && action.verb == Verb::Subscribe && has_wildcard(topic) {
            return self.decide_overlapping(subject, action, topic);
        }
        let mut search = Search::new(self, subject, action, topic);
        if let Some(tree) = &self.anybody {
            search.in_tree(tree);
        }
        if !self.clients.is_empty()
            && let Some(tree) = self.clients.get(subject.client_id)
        {
            search.in_tree(tree);
        }
        if !self.users.is_empty()
            && let Some(tree) = subject.username.and_then(|user| self.users.get(user))
        {
            search.in_tree(tree);
        }
        for (size, nets) in &self.nets {
            let net = size.of_same_size(subject.peer);
            if let Some(tree) = net.and_then(|net| nets.get(&net)) {
                search.in_tree(tree);
            }
        }
        let hit = self.heads.get(search.best as usize);
        hit.map(|head| head.permission)
    }

    /// The plain reading, rule by rule: wildcards in what is asked for are rare.
    fn decide_overlapping(
        &self,
        subject: &Subject<'_>,
        action: Action,
        filter: &str,
    ) -> Option<Permission> {
        let hit = self.rules.iter().find(|rule| {
            rule.hits(subject, action, filter)
                || (rule.permission == Permission::Deny && rule.overlaps(subject, action, filter))
        });
        hit.map(|rule| rule.permission)
    }

    fn file(&mut self, index: u32, key: &Key<'_>, rule: &Rule) {
        let mut tree = self.take_tree(key);
        tree.least = tree.least.min(index);
        match &rule.topics {
            Topics::All => push(&mut tree.all, index),
            Topics::Listed(patterns) => {
                for pattern in patterns {
                    self.file_pattern(&mut tree, index, rule.permission, pattern);
                }
            }
        }
        self.put_tree(key, tree);
    }

    fn file_pattern(
        &mut self,
        tree: &mut Tree,
        index: u32,
        permission: Permission,
        pattern: &Pattern,
    ) {
        let levels = match pattern {
            Pattern::Filter(levels) => levels,
            Pattern::Exactly(text) => {
                tree.has_literals = true;
                let node = self.child(tree.root | LITERAL, text);
                self.note(node, index);
                return push(&mut self.nodes[node as usize].exact, index);
            }
        };
        self.levels_max = self.levels_max.max(levels.len());
        let mut node = tree.root;
        self.note(node, index);
        for level in levels {
            node = match level {
                Level::Rest => return push(&mut self.nodes[node as usize].rest, index),
                Level::Any => self.any_child(node),
                Level::Is(text) => self.child(node, text),
                Level::Template(pieces) => self.template_child(node, pieces, permission, index),
            };
            self.note(node, index);
        }
        push(&mut self.nodes[node as usize].exact, index);
    }

    fn note(&mut self, node: u32, index: u32) {
        let node = &mut self.nodes[node as usize];
        node.least = node.least.min(index);
    }

    fn new_node(&mut self) -> u32 {
        let index = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        assert!(index < LITERAL, "the rules of a file are limited");
        self.nodes.push(Node {
            exact: Vec::new(),
            rest: Vec::new(),
            any: NONE,
            templates: Vec::new(),
            least: NONE,
        });
        index
    }

    fn any_child(&mut self, node: u32) -> u32 {
        let child = self.nodes[node as usize].any;
        if child != NONE {
            return child;
        }
        let child = self.new_node();
        self.nodes[node as usize].any = child;
        child
    }

    fn child(&mut self, parent: u32, text: &str) -> u32 {
        let hash = edge_hash(parent, self.hasher.hash_one(text));
        let found = self
            .edges
            .find(hash, |edge| edge.parent == parent && *edge.text == *text);
        if let Some(edge) = found {
            return edge.child;
        }
        let child = self.new_node();
        let hasher = &self.hasher;
        let edge = Edge {
            parent,
            text: text.into(),
            child,
        };
        self.edges.insert_unique(hash, edge, |edge| {
            edge_hash(edge.parent, hasher.hash_one(&*edge.text))
        });
        child
    }

    fn template_child(
        &mut self,
        node: u32,
        pieces: &[Piece],
        permission: Permission,
        index: u32,
    ) -> u32 {
        let mine = &self.nodes[node as usize].templates;
        let place = match mine.iter().position(|edge| *edge.pieces == *pieces) {
            Some(place) => place,
            None => {
                let child = self.new_node();
                let templates = &mut self.nodes[node as usize].templates;
                templates.push(TemplateEdge {
                    pieces: pieces.into(),
                    child,
                    denies: Vec::new(),
                });
                templates.len() - 1
            }
        };
        let edge = &mut self.nodes[node as usize].templates[place];
        if permission == Permission::Deny {
            push(&mut edge.denies, index);
        }
        edge.child
    }

    fn new_tree(&mut self) -> Tree {
        Tree {
            root: self.new_node(),
            has_literals: false,
            all: Vec::new(),
            least: NONE,
        }
    }

    fn take_tree(&mut self, key: &Key<'_>) -> Tree {
        let found = match key {
            Key::Anybody => self.anybody.take(),
            Key::User(name) => self.users.remove(*name),
            Key::Client(id) => self.clients.remove(*id),
            Key::Net(net) => {
                let of_size = self.nets.iter_mut().find(|(size, _)| *size == net.size());
                of_size.and_then(|(_, nets)| nets.remove(net))
            }
        };
        found.unwrap_or_else(|| self.new_tree())
    }

    fn put_tree(&mut self, key: &Key<'_>, tree: Tree) {
        match key {
            Key::Anybody => self.anybody = Some(tree),
            Key::User(name) => drop(self.users.insert((*name).into(), tree)),
            Key::Client(id) => drop(self.clients.insert((*id).into(), tree)),
            Key::Net(net) => match self.nets.iter_mut().find(|(size, _)| *size == net.size()) {
                Some((_, nets)) => drop(nets.insert(*net, tree)),
                None => {
                    let one = [(*net, tree)].into_iter().collect();
                    self.nets.push((net.size(), one));
                }
            },
        }
    }
}

/// The keys a rule is filed under; says whether they say all about whom it concerns.
fn file_under<'a>(who: &'a Who, keys: &mut Vec<Key<'a>>) -> bool {
    match who {
        Who::All => keys.push(Key::Anybody),
        Who::User(Text::Is(name)) => keys.push(Key::User(name)),
        Who::Client(Text::Is(id)) => keys.push(Key::Client(id)),
        Who::Nets(nets) => keys.extend(nets.iter().map(|net| Key::Net(*net))),
        Who::Or(any) => {
            let before = keys.len();
            let settled = any
                .iter()
                .fold(true, |all, one| file_under(one, keys) && all);
            if keys[before..].iter().any(|key| matches!(key, Key::Anybody)) {
                keys.truncate(before);
                keys.push(Key::Anybody);
            }
            return settled;
        }
        Who::And(all) => {
            let narrow = all.iter().find_map(|one| {
                let mut own = Vec::new();
                file_under(one, &mut own);
                let is_narrow = !own.iter().any(|key| matches!(key, Key::Anybody));
                is_narrow.then_some(own)
            });
            match narrow {
                Some(own) => keys.extend(own),
                None => keys.push(Key::Anybody),
            }
            return all.is_empty();
        }
        Who::User(_) | Who::Client(_) | Who::Attribute(..) | Who::Listener(_) | Who::Zone(_) => {
            keys.push(Key::Anybody);
            return false;
        }
    }
    true
}

/// Appends a rule, once.
fn push(list: &mut Vec<u32>, index: u32) {
    if list.last() != Some(&index) {
        list.push(index);
    }
}

fn edge_hash(parent: u32, text: u64) -> u64 {
    (text ^ u64::from(parent)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// One question on its way through the trees.
struct Search<'a> {
    of: &'a CompiledRules,
    subject: &'a Subject<'a>,
    action: Action,
    topic: &'a str,
    /// The levels of the topic, one more than the rules have, with their hashes.
    levels: SmallVec<[(&'a str, u64); 12]>,
    /// The first rule that hits so far.
    best: u32,
}

impl<'a> Search<'a> {
    fn new(
        of: &'a CompiledRules,
        subject: &'a Subject<'a>,
        action: Action,
        topic: &'a str,
    ) -> Self {
        let levels = topic.split('/').take(of.levels_max + 1);
        Self {
            of,
            subject,
            action,
            topic,
            levels: levels
                .map(|level| (level, of.hasher.hash_one(level)))
                .collect(),
            best: NONE,
        }
    }

    fn in_tree(&mut self, tree: &'a Tree) {
        if tree.least >= self.best {
            return;
        }
        self.consider(&tree.all, false);
        if tree.has_literals {
            let hash = self.of.hasher.hash_one(self.topic);
            if let Some(node) = self.child(tree.root | LITERAL, self.topic, hash) {
                self.consider(&node.exact, false);
            }
        }
        self.in_node(tree.root, 0, false);
    }

    /// Looks through a node that stands for the first `depth` levels. Where a wildcard was read
    /// generously only denying rules count.
    fn in_node(&mut self, index: u32, depth: usize, denies_only: bool) {
        let node = &self.of.nodes[index as usize];
        if node.least >= self.best {
            return;
        }
        let is_dollar = depth == 0 && self.topic.starts_with('$');
        self.consider(&node.rest, denies_only || is_dollar);
        let Some(&(level, hash)) = self.levels.get(depth) else {
            return self.consider(&node.exact, denies_only);
        };
        if let Some(child) = self.child_index(index, level, hash) {
            self.in_node(child, depth + 1, denies_only);
        }
        if node.any != NONE {
            let generous = is_dollar || level == "#";
            self.in_node(node.any, depth + 1, denies_only || generous);
        }
        for edge in &node.templates {
            match fill(&edge.pieces, self.subject, level) {
                Filled::Same => self.in_node(edge.child, depth + 1, denies_only),
                Filled::Other => {}
                Filled::Unsafe => self.consider(&edge.denies, true),
            }
        }
    }

    fn child(&self, parent: u32, text: &str, hash: u64) -> Option<&'a Node> {
        let child = self.child_index(parent, text, hash)?;
        self.of.nodes.get(child as usize)
    }

    fn child_index(&self, parent: u32, text: &str, hash: u64) -> Option<u32> {
        let edge = self.of.edges.find(edge_hash(parent, hash), |edge| {
            edge.parent == parent && *edge.text == *text
        });
        edge.map(|edge| edge.child)
    }

    /// Takes the first of these rules that concerns the client and what it wants, if it is the first
    /// of all.
    fn consider(&mut self, rules: &[u32], denies_only: bool) {
        for &index in rules {
            if index >= self.best {
                return;
            }
            let Some(head) = self.of.heads.get(index as usize) else {
                return;
            };
            if denies_only && head.permission == Permission::Allow {
                continue;
            }
            let concerns = head.is_settled
                || (self.of.rules.get(index as usize))
                    .is_some_and(|r| r.who.includes(self.subject));
            if head.actions.has(self.action) && concerns {
                self.best = index;
                return;
            }
        }
    }
}
