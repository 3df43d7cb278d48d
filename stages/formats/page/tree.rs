//! Parses HTML into a tree, without scripting, and within bounds that html5ever does not have.
//!
//! Open elements are searched at every tag, so nesting costs quadratic time; and unclosed formatting elements
//! are opened again in every paragraph, so a small page can ask for a tree of any size. [`Bounds`] sees every
//! element that is made and placed, and stops the parser.

use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;

use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};
use html5ever::tree_builder::{ElementFlags, NodeOrText, QuirksMode, TreeBuilder, TreeBuilderOpts, TreeSink};
use html5ever::{Attribute, QualName, TokenizerResult};
use scraper::{Html, HtmlTreeSink};
use weft_core::limits::{LimitExceeded, Limits};

type NodeId = <HtmlTreeSink as TreeSink>::Handle;

/// Elements that any page may have, however short.
const ELEMENTS_AT_LEAST: u64 = 100_000;

/// Parses a page; its elements are at most one per byte, or 100,000.
pub(super) fn parse(html: &str, limits: &Limits) -> Result<Html, LimitExceeded> {
    let length = u64::try_from(html.len()).expect("usize fits u64");
    let sink = Bounds {
        inner: HtmlTreeSink::new(Html::new_document()),
        depths: RefCell::new(HashMap::new()),
        depth_limit: limits.html_depth,
        elements_left: Cell::new(length.max(ELEMENTS_AT_LEAST)),
        elements_limit: length.max(ELEMENTS_AT_LEAST),
        exceeded: RefCell::new(None),
    };
    let options = TreeBuilderOpts { scripting_enabled: false, ..TreeBuilderOpts::default() };
    let gate = Gate { builder: TreeBuilder::new(sink, options) };
    let tokenizer = Tokenizer::new(gate, TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    // The tokenizer returns early at scripts, which are not run.
    while tokenizer.feed(&input) != TokenizerResult::Done {}
    tokenizer.end();
    let sink = tokenizer.sink.builder.sink;
    match sink.exceeded.take() {
        Some(exceeded) => Err(exceeded),
        None => Ok(sink.finish()),
    }
}

/// Hands tokens on to the tree builder until a bound is exceeded.
struct Gate {
    builder: TreeBuilder<NodeId, Bounds>,
}

impl TokenSink for Gate {
    type Handle = NodeId;

    fn process_token(&self, token: Token, line_number: u64) -> TokenSinkResult<NodeId> {
        if self.builder.sink.exceeded.borrow().is_some() {
            return TokenSinkResult::Continue;
        }
        self.builder.process_token(token, line_number)
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder.adjusted_current_node_present_but_not_in_html_namespace()
    }
}

/// A tree sink that counts elements and their depth.
struct Bounds {
    inner: HtmlTreeSink,
    /// The depth of each element when it was placed; later moves change it by one or two.
    depths: RefCell<HashMap<NodeId, u32>>,
    depth_limit: u32,
    elements_left: Cell<u64>,
    elements_limit: u64,
    exceeded: RefCell<Option<LimitExceeded>>,
}

impl Bounds {
    /// Notes that `child` was placed `below` levels under `node`.
    fn place(&self, node: &NodeId, below: u32, child: &NodeOrText<NodeId>) {
        let NodeOrText::AppendNode(child) = child else { return };
        let mut depths = self.depths.borrow_mut();
        let depth = depths.get(node).copied().unwrap_or(0) + below;
        depths.insert(*child, depth);
        if depth > self.depth_limit {
            self.stop("html_depth", u64::from(self.depth_limit));
        }
    }

    fn stop(&self, what: &'static str, limit: u64) {
        self.exceeded.borrow_mut().get_or_insert(LimitExceeded { what, limit });
    }
}

impl TreeSink for Bounds {
    type Handle = NodeId;
    type Output = Html;
    type ElemName<'a> = Ref<'a, QualName>;

    fn finish(self) -> Html {
        self.inner.finish()
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> NodeId {
        self.inner.get_document()
    }

    fn elem_name<'a>(&'a self, target: &'a NodeId) -> Ref<'a, QualName> {
        self.inner.elem_name(target)
    }

    fn create_element(&self, name: QualName, attrs: Vec<Attribute>, flags: ElementFlags) -> NodeId {
        match self.elements_left.get().checked_sub(1) {
            Some(left) => self.elements_left.set(left),
            None => self.stop("html_elements", self.elements_limit),
        }
        self.inner.create_element(name, attrs, flags)
    }

    fn create_comment(&self, text: StrTendril) -> NodeId {
        self.inner.create_comment(text)
    }

    fn create_pi(&self, target: StrTendril, content: StrTendril) -> NodeId {
        self.inner.create_pi(target, content)
    }

    fn append(&self, parent: &NodeId, child: NodeOrText<NodeId>) {
        self.place(parent, 1, &child);
        self.inner.append(parent, child);
    }

    fn append_based_on_parent_node(&self, element: &NodeId, previous: &NodeId, child: NodeOrText<NodeId>) {
        self.place(element, 1, &child);
        self.inner.append_based_on_parent_node(element, previous, child);
    }

    fn append_doctype_to_document(&self, name: StrTendril, public_id: StrTendril, system_id: StrTendril) {
        self.inner.append_doctype_to_document(name, public_id, system_id);
    }

    fn get_template_contents(&self, target: &NodeId) -> NodeId {
        let contents = self.inner.get_template_contents(target);
        self.place(target, 1, &NodeOrText::AppendNode(contents));
        contents
    }

    fn same_node(&self, x: &NodeId, y: &NodeId) -> bool {
        self.inner.same_node(x, y)
    }

    fn set_quirks_mode(&self, mode: QuirksMode) {
        self.inner.set_quirks_mode(mode);
    }

    fn append_before_sibling(&self, sibling: &NodeId, new_node: NodeOrText<NodeId>) {
        self.place(sibling, 0, &new_node);
        self.inner.append_before_sibling(sibling, new_node);
    }

    fn add_attrs_if_missing(&self, target: &NodeId, attrs: Vec<Attribute>) {
        self.inner.add_attrs_if_missing(target, attrs);
    }

    fn remove_from_parent(&self, target: &NodeId) {
        self.inner.remove_from_parent(target);
    }

    fn reparent_children(&self, node: &NodeId, new_parent: &NodeId) {
        self.inner.reparent_children(node, new_parent);
    }
}
