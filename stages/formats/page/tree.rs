//! Parses HTML into a tree, without scripting, and within bounds that html5ever does not have.
//!
//! Open elements are searched at every tag, so nesting costs quadratic time; and unclosed formatting elements
//! are opened again in every paragraph, so a small page can ask for a tree of any size. [`Builder`] sees every
//! element that is made and placed, and stops the parser.
//!
//! For a list of images ([`Reading::Images`]) the tree holds where nodes stand, the text, and the attributes of [few
//! elements](has_attributes); of the rest, most is cut from the input before the parser reads it (`skim.rs`). Nodes
//! lie in one vector and name each other by number, so that a tree of any depth is dropped without recursion.

use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};
use std::num::NonZeroU32;

use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{ElementFlags, NodeOrText, QuirksMode, TreeBuilder, TreeBuilderOpts, TreeSink};
use html5ever::{Attribute, LocalName, QualName, TokenizerResult, local_name, ns};
use weft_core::limits::{LimitExceeded, Limits};

use super::is_invisible;
use crate::formats::skim;

/// Elements that any page may have, however short.
const ELEMENTS_AT_LEAST: u64 = 100_000;

/// Elements whose attributes are kept.
fn has_attributes(name: &LocalName) -> bool {
    matches!(
        *name,
        local_name!("base") | local_name!("img") | local_name!("link") | local_name!("meta") | local_name!("source")
    )
}

/// A node's number in its tree, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(NonZeroU32);

impl NodeId {
    const DOCUMENT: Self = Self(NonZeroU32::MIN);

    fn index(self) -> usize {
        usize::try_from(self.0.get()).expect("32 bits fit usize") - 1
    }
}

/// An element, of any namespace.
#[derive(Debug)]
pub(super) struct Element {
    name: QualName,
    attributes: Vec<Attribute>,
}

impl Element {
    /// The tag's name.
    pub(super) fn name(&self) -> &LocalName {
        &self.name.local
    }

    /// The value of an attribute in no namespace.
    pub(super) fn attr(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|attribute| {
            attribute.name.ns == ns!() && attribute.name.prefix.is_none() && *attribute.name.local == *name
        });
        found.map(|attribute| &*attribute.value)
    }
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Value {
    /// An element.
    Element(Element),
    /// Text, one node for all between two tags.
    Text(StrTendril),
    /// The document, a comment, a template's contents.
    Other,
}

/// A node and its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) parent: Option<NodeId>,
    pub(super) first_child: Option<NodeId>,
    pub(super) next_sibling: Option<NodeId>,
    last_child: Option<NodeId>,
    previous_sibling: Option<NodeId>,
    /// When it was placed; later moves change it by one or two.
    depth: u32,
}

/// A parsed page.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: Nodes,
    has_base: bool,
}

impl Tree {
    /// The node that all others are under.
    pub(super) fn document(&self) -> NodeId {
        NodeId::DOCUMENT
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes.at(id)
    }

    /// The node behind `id` in document order.
    pub(super) fn behind(&self, id: NodeId) -> Option<NodeId> {
        if let Some(child) = self.node(id).first_child {
            return Some(child);
        }
        let mut last = Some(id);
        while let Some(id) = last {
            let node = self.node(id);
            if node.next_sibling.is_some() {
                return node.next_sibling;
            }
            last = node.parent;
        }
        None
    }

    /// Whether there may be a `base` element.
    pub(super) fn has_base(&self) -> bool {
        self.has_base
    }
}

/// How much of a page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What a list of images needs.
    Images,
    /// Every byte and every attribute: the same list, slower.
    Whole,
}

/// Parses a page; its elements are at most one per byte, or 100,000.
pub(super) fn parse(html: &str, limits: &Limits, reading: Reading) -> Result<Tree, LimitExceeded> {
    let skims = reading == Reading::Images;
    let length = u64::try_from(html.len()).expect("usize fits u64");
    let mut nodes = Nodes(Vec::new());
    nodes.push(Value::Other);
    let sink = Builder {
        nodes: RefCell::new(nodes),
        has_base: Cell::new(false),
        keeps_attributes: !skims,
        depth_limit: limits.html_depth,
        elements_left: Cell::new(length.max(ELEMENTS_AT_LEAST)),
        elements_limit: length.max(ELEMENTS_AT_LEAST),
        is_stopped: Cell::new(false),
        exceeded: RefCell::new(None),
    };
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    let options = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
    let gate = Gate { builder: TreeBuilder::new(sink, options), input: &input, skims };
    let tokenizer = Tokenizer::new(gate, TokenizerOpts::default());
    // The tokenizer returns early at scripts, which are not run.
    while tokenizer.feed(&input) != TokenizerResult::Done {}
    tokenizer.end();
    let sink = tokenizer.sink.builder.sink;
    match sink.exceeded.take() {
        Some(exceeded) => Err(exceeded),
        None => Ok(sink.finish()),
    }
}

/// Hands tokens on to the tree builder until a bound is exceeded, and cuts from the input what it need not read.
struct Gate<'a> {
    builder: TreeBuilder<NodeId, Builder>,
    input: &'a BufferQueue,
    skims: bool,
}

impl TokenSink for Gate<'_> {
    type Handle = NodeId;

    fn process_token(&self, token: Token, line_number: u64) -> TokenSinkResult<NodeId> {
        if self.builder.sink.is_stopped.get() {
            return TokenSinkResult::Continue;
        }
        // After a tag or a comment the tokenizer reads text and the next tag, unless the tree builder says otherwise.
        let opened = match &token {
            Token::TagToken(tag) if self.skims => Some(tag.name.clone()),
            Token::CommentToken(_) if self.skims => None,
            _ => return self.builder.process_token(token, line_number),
        };
        let result = self.builder.process_token(token, line_number);
        match (&result, opened) {
            (TokenSinkResult::RawData(RawKind::ScriptData | RawKind::Rawtext), Some(name)) if is_invisible(&name) => {
                skim::cut(self.input, |rest| skim::raw_text_end(rest, &name).map(|end| 0..end));
            }
            (TokenSinkResult::Continue | TokenSinkResult::Script(_), _) => skim::cut(self.input, skim::attributes),
            _ => {}
        }
        result
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

#[derive(Debug)]
struct Nodes(Vec<Node>);

impl Nodes {
    fn at(&self, id: NodeId) -> &Node {
        &self.0[id.index()]
    }

    fn at_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.0[id.index()]
    }

    /// Adds a node that stands nowhere yet.
    fn push(&mut self, value: Value) -> NodeId {
        self.0.push(Node {
            value,
            parent: None,
            first_child: None,
            next_sibling: None,
            last_child: None,
            previous_sibling: None,
            depth: 0,
        });
        let number = u32::try_from(self.0.len()).ok().and_then(NonZeroU32::new);
        NodeId(number.expect("a page of less than 4 GiB has fewer nodes"))
    }

    /// Takes a node, with all under it, from where it stands.
    fn detach(&mut self, id: NodeId) {
        let node = self.at_mut(id);
        let (parent, previous, next) = (node.parent.take(), node.previous_sibling.take(), node.next_sibling.take());
        let Some(parent) = parent else { return };
        match previous {
            Some(previous) => self.at_mut(previous).next_sibling = next,
            None => self.at_mut(parent).first_child = next,
        }
        match next {
            Some(next) => self.at_mut(next).previous_sibling = previous,
            None => self.at_mut(parent).last_child = previous,
        }
    }

    /// Places a child as the last one under `parent`.
    fn append(&mut self, child: NodeOrText<NodeId>, parent: NodeId) {
        match child {
            NodeOrText::AppendNode(id) => {
                self.detach(id);
                self.insert(id, parent, None);
            }
            NodeOrText::AppendText(text) => self.insert_text(text, parent, None),
        }
    }

    /// Places a node before another one, and nowhere where that stands nowhere.
    fn append_before(&mut self, child: NodeOrText<NodeId>, sibling: NodeId) {
        if let NodeOrText::AppendNode(id) = child {
            self.detach(id);
        }
        let Some(parent) = self.at(sibling).parent else { return };
        match child {
            NodeOrText::AppendNode(id) => self.insert(id, parent, Some(sibling)),
            NodeOrText::AppendText(text) => self.insert_text(text, parent, Some(sibling)),
        }
    }

    /// Places a node that stands nowhere: under `parent`, before `next` or as the last one.
    fn insert(&mut self, id: NodeId, parent: NodeId, next: Option<NodeId>) {
        let previous = match next {
            Some(next) => self.at_mut(next).previous_sibling.replace(id),
            None => self.at_mut(parent).last_child.replace(id),
        };
        match previous {
            Some(previous) => self.at_mut(previous).next_sibling = Some(id),
            None => self.at_mut(parent).first_child = Some(id),
        }
        let node = self.at_mut(id);
        (node.parent, node.previous_sibling, node.next_sibling) = (Some(parent), previous, next);
    }

    /// Places text under `parent`, before `next` or at the end, as part of the text node before it if there is one.
    fn insert_text(&mut self, text: StrTendril, parent: NodeId, next: Option<NodeId>) {
        let previous = match next {
            Some(next) => self.at(next).previous_sibling,
            None => self.at(parent).last_child,
        };
        if let Some(previous) = previous
            && let Value::Text(before) = &mut self.at_mut(previous).value
        {
            before.push_tendril(&text);
            return;
        }
        let id = self.push(Value::Text(text));
        self.insert(id, parent, next);
    }
}

/// A tree sink that counts elements and their depth.
struct Builder {
    nodes: RefCell<Nodes>,
    has_base: Cell<bool>,
    /// Those of all elements.
    keeps_attributes: bool,
    depth_limit: u32,
    elements_left: Cell<u64>,
    elements_limit: u64,
    is_stopped: Cell<bool>,
    exceeded: RefCell<Option<LimitExceeded>>,
}

impl Builder {
    /// Notes that `child` is placed `below` levels under `node`.
    fn place(&self, nodes: &mut Nodes, node: NodeId, below: u32, child: &NodeOrText<NodeId>) {
        let NodeOrText::AppendNode(child) = *child else { return };
        let depth = nodes.at(node).depth + below;
        nodes.at_mut(child).depth = depth;
        if depth > self.depth_limit {
            self.stop("html_depth", u64::from(self.depth_limit));
        }
    }

    fn stop(&self, what: &'static str, limit: u64) {
        self.is_stopped.set(true);
        self.exceeded.borrow_mut().get_or_insert(LimitExceeded { what, limit });
    }
}

impl TreeSink for Builder {
    type Handle = NodeId;
    type Output = Tree;
    type ElemName<'a> = Ref<'a, QualName>;

    fn finish(self) -> Tree {
        Tree { nodes: self.nodes.into_inner(), has_base: self.has_base.get() }
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> NodeId {
        NodeId::DOCUMENT
    }

    fn elem_name<'a>(&'a self, target: &'a NodeId) -> Ref<'a, QualName> {
        Ref::map(self.nodes.borrow(), |nodes| match &nodes.at(*target).value {
            Value::Element(element) => &element.name,
            _ => unreachable!("the parser asks for the names of elements alone"),
        })
    }

    fn create_element(&self, name: QualName, attrs: Vec<Attribute>, flags: ElementFlags) -> NodeId {
        match self.elements_left.get().checked_sub(1) {
            Some(left) => self.elements_left.set(left),
            None => self.stop("html_elements", self.elements_limit),
        }
        if name.local == local_name!("base") {
            self.has_base.set(true);
        }
        let attributes = if self.keeps_attributes || has_attributes(&name.local) { attrs } else { Vec::new() };
        let mut nodes = self.nodes.borrow_mut();
        let id = nodes.push(Value::Element(Element { name, attributes }));
        if flags.template {
            let contents = nodes.push(Value::Other);
            nodes.insert(contents, id, None);
        }
        id
    }

    fn create_comment(&self, _text: StrTendril) -> NodeId {
        self.nodes.borrow_mut().push(Value::Other)
    }

    fn create_pi(&self, _target: StrTendril, _content: StrTendril) -> NodeId {
        self.nodes.borrow_mut().push(Value::Other)
    }

    fn append(&self, parent: &NodeId, child: NodeOrText<NodeId>) {
        let nodes = &mut self.nodes.borrow_mut();
        self.place(nodes, *parent, 1, &child);
        nodes.append(child, *parent);
    }

    fn append_based_on_parent_node(&self, element: &NodeId, previous: &NodeId, child: NodeOrText<NodeId>) {
        let nodes = &mut self.nodes.borrow_mut();
        self.place(nodes, *element, 1, &child);
        if nodes.at(*element).parent.is_some() {
            nodes.append_before(child, *element);
        } else {
            nodes.append(child, *previous);
        }
    }

    fn append_doctype_to_document(&self, _name: StrTendril, _public_id: StrTendril, _system_id: StrTendril) {}

    fn get_template_contents(&self, target: &NodeId) -> NodeId {
        let nodes = &mut self.nodes.borrow_mut();
        let contents = nodes.at(*target).first_child.expect("a template is made with its contents");
        self.place(nodes, *target, 1, &NodeOrText::AppendNode(contents));
        contents
    }

    fn same_node(&self, x: &NodeId, y: &NodeId) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &NodeId, new_node: NodeOrText<NodeId>) {
        let nodes = &mut self.nodes.borrow_mut();
        self.place(nodes, *sibling, 0, &new_node);
        nodes.append_before(new_node, *sibling);
    }

    /// They are `html` and `body` alone, whose attributes are not kept.
    fn add_attrs_if_missing(&self, _target: &NodeId, _attrs: Vec<Attribute>) {}

    fn remove_from_parent(&self, target: &NodeId) {
        self.nodes.borrow_mut().detach(*target);
    }

    fn reparent_children(&self, node: &NodeId, new_parent: &NodeId) {
        let nodes = &mut self.nodes.borrow_mut();
        while let Some(child) = nodes.at(*node).first_child {
            nodes.detach(child);
            nodes.insert(child, *new_parent, None);
        }
    }
}
