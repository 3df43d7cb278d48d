//! Writes ONNX graphs: the messages of the format that are needed, and a builder that checks names.
//!
//! Field numbers are those of `onnx.proto` (IR version 8, operator set 17). Initialisers are inline and
//! little-endian; the only free dimension is the batch, named `n`. The bytes depend on the calls alone, so equal
//! calls give equal digests. O(bytes written).

use std::collections::BTreeSet;

use prost::Message;

/// The version of the operators that the graphs are written in.
const OPERATOR_SET: i64 = 17;
/// The version of the container; 8 belongs to operator set 17.
const IR_VERSION: i64 = 8;
/// The name of the free dimension.
const BATCH: &str = "n";

/// What is wrong with a graph that was put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    /// A node reads, or the graph gives out, a value that nothing before it makes.
    #[error("graph `{graph}` uses `{value}` before anything makes it")]
    Unmade {
        /// The graph's name.
        graph: String,
        /// The value's name.
        value: String,
    },
    /// Two inputs, initialisers or nodes make a value of the same name.
    #[error("graph `{graph}` makes `{value}` twice")]
    MadeTwice {
        /// The graph's name.
        graph: String,
        /// The value's name.
        value: String,
    },
    /// An initialiser's values do not fill its shape.
    #[error("graph `{graph}`: `{value}` holds {given} values, its shape {needed}")]
    WrongLength {
        /// The graph's name.
        graph: String,
        /// The initialiser's name.
        value: String,
        /// The number of values given.
        given: usize,
        /// The product of the dimensions.
        needed: usize,
    },
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// 64-bit signed integer.
    I64,
}

impl Element {
    /// `TensorProto.DataType`.
    fn code(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::I64 => 7,
        }
    }
}

/// One dimension of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim {
    /// The number of rows in a call: free.
    Batch,
    /// A number known beforehand.
    Fixed(u32),
}

/// The value of a node's attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute<'a> {
    /// One integer.
    Int(i64),
    /// One float.
    Float(f32),
    /// A list of integers.
    Ints(&'a [i64]),
}

/// A graph under construction; nodes run in the order in which they are added.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: GraphProto,
    made: BTreeSet<String>,
    fault: Option<OnnxError>,
}

impl GraphBuilder {
    /// Starts an empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            graph: GraphProto { name: name.to_owned(), ..GraphProto::default() },
            made: BTreeSet::new(),
            fault: None,
        }
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, element: Element, dims: &[Dim]) -> &mut Self {
        self.make(name);
        self.graph.input.push(value_info(name, element, dims));
        self
    }

    /// Declares an output; a node must make it, at the latest before [`Self::finish`].
    pub fn output(&mut self, name: &str, element: Element, dims: &[Dim]) -> &mut Self {
        self.graph.output.push(value_info(name, element, dims));
        self
    }

    /// Adds a constant of floats, the last dimension running fastest.
    pub fn floats(&mut self, name: &str, dims: &[u32], values: &[f32]) -> &mut Self {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, Element::F32, dims, values.len(), raw_data)
    }

    /// Adds a constant of integers; no dimension means one scalar.
    pub fn ints(&mut self, name: &str, dims: &[u32], values: &[i64]) -> &mut Self {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, Element::I64, dims, values.len(), raw_data)
    }

    /// Adds a node with one output.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attribute<'_>)],
    ) -> &mut Self {
        for input in inputs {
            self.need(input);
        }
        self.make(output);
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("{operator}:{output}"),
            op_type: operator.to_owned(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, *value)).collect(),
        });
        self
    }

    /// Encodes the model.
    ///
    /// # Errors
    /// The first fault of the calls before: a name made twice or never, a constant that does not fill its shape.
    pub fn finish(mut self) -> Result<Vec<u8>, OnnxError> {
        let outputs: Vec<String> = self.graph.output.iter().map(|output| output.name.clone()).collect();
        for output in outputs {
            self.need(&output);
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "weft".to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPERATOR_SET }],
        };
        Ok(model.encode_to_vec())
    }

    fn constant(&mut self, name: &str, element: Element, dims: &[u32], given: usize, raw_data: Vec<u8>) -> &mut Self {
        let needed = dims
            .iter()
            .fold(1_usize, |product, &dim| product.saturating_mul(usize::try_from(dim).unwrap_or(usize::MAX)));
        if given != needed {
            let graph = self.graph.name.clone();
            self.fail(OnnxError::WrongLength { graph, value: name.to_owned(), given, needed });
        }
        self.make(name);
        self.graph.initializer.push(TensorProto {
            dims: dims.iter().map(|&dim| i64::from(dim)).collect(),
            data_type: element.code(),
            name: name.to_owned(),
            raw_data,
        });
        self
    }

    fn make(&mut self, name: &str) {
        if !self.made.insert(name.to_owned()) {
            let graph = self.graph.name.clone();
            self.fail(OnnxError::MadeTwice { graph, value: name.to_owned() });
        }
    }

    fn need(&mut self, name: &str) {
        if !self.made.contains(name) {
            let graph = self.graph.name.clone();
            self.fail(OnnxError::Unmade { graph, value: name.to_owned() });
        }
    }

    fn fail(&mut self, fault: OnnxError) {
        self.fault.get_or_insert(fault);
    }
}

fn value_info(name: &str, element: Element, dims: &[Dim]) -> ValueInfoProto {
    let dim = dims
        .iter()
        .map(|dim| Dimension {
            value: Some(match dim {
                Dim::Batch => dimension::Value::DimParam(BATCH.to_owned()),
                Dim::Fixed(size) => dimension::Value::DimValue(i64::from(*size)),
            }),
        })
        .collect();
    let tensor = TensorTypeProto { elem_type: element.code(), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

/// `AttributeProto.AttributeType`: 1 is FLOAT, 2 is INT, 7 is INTS.
fn attribute(name: &str, value: Attribute<'_>) -> AttributeProto {
    let empty = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match value {
        Attribute::Float(f) => AttributeProto { f: Some(f), r#type: 1, ..empty },
        Attribute::Int(i) => AttributeProto { i: Some(i), r#type: 2, ..empty },
        Attribute::Ints(ints) => AttributeProto { ints: ints.to_vec(), r#type: 7, ..empty },
    }
}

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    // Optional, so that a zero is written: readers of the format tell an absent value from zero.
    #[prost(float, optional, tag = "2")]
    f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(oneof = "dimension::Value", tags = "1, 2")]
    value: Option<dimension::Value>,
}

mod dimension {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(int64, tag = "1")]
        DimValue(i64),
        #[prost(string, tag = "2")]
        DimParam(String),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_nothing_makes_is_named() {
        let mut graph = GraphBuilder::new("broken");
        graph.node("Tanh", &["nowhere"], "out", &[]);
        assert_eq!(graph.finish().unwrap_err().to_string(), "graph `broken` uses `nowhere` before anything makes it");
    }

    #[test]
    fn an_output_that_nothing_makes_is_named() {
        let mut graph = GraphBuilder::new("broken");
        graph.output("out", Element::F32, &[Dim::Batch]);
        assert_eq!(graph.finish().unwrap_err().to_string(), "graph `broken` uses `out` before anything makes it");
    }

    #[test]
    fn a_constant_must_fill_its_shape() {
        let mut graph = GraphBuilder::new("broken");
        graph.floats("w", &[2, 2], &[1.0; 3]);
        assert_eq!(graph.finish().unwrap_err().to_string(), "graph `broken`: `w` holds 3 values, its shape 4");
    }

    #[test]
    fn a_name_is_made_once() {
        let mut graph = GraphBuilder::new("broken");
        graph.floats("w", &[1], &[1.0]).ints("w", &[1], &[1]);
        assert_eq!(graph.finish().unwrap_err().to_string(), "graph `broken` makes `w` twice");
    }

    #[test]
    fn a_zero_attribute_is_written() {
        let bytes = attribute("axis", Attribute::Int(0)).encode_to_vec();
        assert_eq!(bytes, b"\x0a\x04axis\x18\x00\xa0\x01\x02");
    }
}
