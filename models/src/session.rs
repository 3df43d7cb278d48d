//! Holds one loaded graph and runs it: named tensors in, `f32` tensors out.
//!
//! Shapes are checked against the graph's own declaration before the engine sees them, so that a wrong call is an
//! error here and no fault inside a library. A session runs one call at a time (`&mut self`); tract also holds a
//! lock for the whole call, so parallel work wants one session a worker.

pub(crate) mod load;

use std::fmt;
use std::path::Path;

use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{TensorElementType, TensorRef, ValueType};

use crate::engine::{Engine, EngineKind};
pub use load::LoadError;

/// A named input or output, as the graph declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its dimensions; `None` is free.
    pub shape: Vec<Option<usize>>,
}

/// A tensor to run on, borrowed; the last dimension runs fastest.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Floats.
    F32 {
        /// The input's name.
        name: &'a str,
        /// Its dimensions.
        shape: &'a [usize],
        /// As many values as the dimensions multiply to.
        values: &'a [f32],
    },
    /// Integers.
    I64 {
        /// The input's name.
        name: &'a str,
        /// Its dimensions.
        shape: &'a [usize],
        /// As many values as the dimensions multiply to.
        values: &'a [i64],
    },
}

/// A tensor that came out; the last dimension runs fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The output's name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// As many values as the dimensions multiply to.
    pub values: Vec<f32>,
}

/// A graph that is loaded and ready.
#[derive(Debug)]
pub struct Session {
    graph: String,
    inner: ort::session::Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

/// Why a graph cannot be loaded or run; each names the graph.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The engine cannot load it.
    #[error("failed to load graph `{graph}`")]
    Open {
        /// The graph's file.
        graph: String,
        /// What the engine said.
        #[source]
        source: ort::Error,
    },
    /// An input or output is no tensor.
    #[error("graph `{graph}`: `{port}` is not a tensor")]
    NotATensor {
        /// The graph's file.
        graph: String,
        /// The input or output.
        port: String,
    },
    /// The inputs given are not those declared.
    #[error("graph `{graph}` takes {declared:?}, not {given:?}")]
    WrongInputs {
        /// The graph's file.
        graph: String,
        /// What it takes.
        declared: Vec<String>,
        /// What it was given.
        given: Vec<String>,
    },
    /// A shape contradicts the declaration.
    #[error("graph `{graph}`: `{input}` takes the shape {declared}, not {given:?}")]
    WrongShape {
        /// The graph's file.
        graph: String,
        /// The input.
        input: String,
        /// What it takes, `?` for a free dimension.
        declared: String,
        /// What it was given.
        given: Vec<usize>,
    },
    /// The values do not fill the shape.
    #[error("graph `{graph}`: `{input}` has {given} values for the shape {shape:?}")]
    WrongLength {
        /// The graph's file.
        graph: String,
        /// The input.
        input: String,
        /// The shape given.
        shape: Vec<usize>,
        /// The number of values given.
        given: usize,
    },
    /// The engine failed on a call.
    #[error("failed to run graph `{graph}`")]
    Run {
        /// The graph's file.
        graph: String,
        /// What the engine said.
        #[source]
        source: ort::Error,
    },
    /// The graph has no such output.
    #[error("graph `{graph}` gives {declared:?}, not `{output}`")]
    NoOutput {
        /// The graph's file.
        graph: String,
        /// What it gives.
        declared: Vec<String>,
        /// What was looked for.
        output: String,
    },
    /// An output is no tensor of 32-bit floats.
    #[error("graph `{graph}`: output `{output}` is not a tensor of f32")]
    NotF32 {
        /// The graph's file.
        graph: String,
        /// The output.
        output: String,
        /// What the engine said.
        #[source]
        source: ort::Error,
    },
}

impl Session {
    /// Loads the graph at `path`; `intra_threads` work on one call, 0 lets the engine choose (tract uses one).
    ///
    /// # Errors
    /// [`SessionError::Open`] and [`SessionError::NotATensor`].
    pub fn open(engine: &Engine, path: &Path, intra_threads: usize) -> Result<Self, SessionError> {
        let graph = path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
        let inner = builder(engine, intra_threads)
            .and_then(|mut builder| builder.commit_from_file(path))
            .map_err(|source| SessionError::Open { graph: graph.clone(), source })?;
        let inputs = inner.inputs().iter().map(|port| declared(&graph, port)).collect::<Result<_, _>>()?;
        let outputs = inner.outputs().iter().map(|port| declared(&graph, port)).collect::<Result<_, _>>()?;
        Ok(Self { graph, inner, inputs, outputs })
    }

    /// The graph's file name.
    pub fn graph(&self) -> &str {
        &self.graph
    }

    /// What the graph takes.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What the graph gives.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The declared input `name`.
    ///
    /// # Errors
    /// [`SessionError::WrongInputs`] where there is none.
    pub fn input(&self, name: &str) -> Result<&Port, SessionError> {
        self.inputs.iter().find(|port| port.name == name).ok_or_else(|| self.wrong_inputs(vec![name.to_owned()]))
    }

    /// Runs one call: every declared input once, in any order; gives all outputs in the graph's order.
    ///
    /// # Errors
    /// [`SessionError`]: the inputs are not those declared, the engine failed, or an output is not `f32`.
    pub fn run(&mut self, inputs: &[Input<'_>]) -> Result<Vec<Output>, SessionError> {
        self.check(inputs)?;
        let graph = &self.graph;
        let failed = |source| SessionError::Run { graph: graph.clone(), source };
        let mut values: Vec<(&str, ort::session::SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for input in inputs {
            let value = match *input {
                Input::F32 { shape, values, .. } => {
                    TensorRef::from_array_view((shape.to_vec(), values)).map_err(failed)?.into()
                }
                Input::I64 { shape, values, .. } => {
                    TensorRef::from_array_view((shape.to_vec(), values)).map_err(failed)?.into()
                }
            };
            values.push((input.name(), value));
        }
        let results = self.inner.run(values).map_err(failed)?;

        let mut outputs = Vec::with_capacity(self.outputs.len());
        for port in &self.outputs {
            let value = results.get(&port.name).ok_or_else(|| SessionError::NoOutput {
                graph: graph.clone(),
                declared: self.outputs.iter().map(|port| port.name.clone()).collect(),
                output: port.name.clone(),
            })?;
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(|source| SessionError::NotF32 {
                graph: graph.clone(),
                output: port.name.clone(),
                source,
            })?;
            let shape = shape.iter().map(|&dim| usize::try_from(dim).expect("a computed tensor has no free dimension"));
            outputs.push(Output { name: port.name.clone(), shape: shape.collect(), values: values.to_vec() });
        }
        Ok(outputs)
    }

    /// Runs one call and gives the output `name` alone.
    ///
    /// # Errors
    /// As [`Self::run`], and [`SessionError::NoOutput`].
    pub fn run_for(&mut self, name: &str, inputs: &[Input<'_>]) -> Result<Output, SessionError> {
        let outputs = self.run(inputs)?;
        outputs.into_iter().find(|output| output.name == name).ok_or_else(|| SessionError::NoOutput {
            graph: self.graph.clone(),
            declared: self.outputs.iter().map(|port| port.name.clone()).collect(),
            output: name.to_owned(),
        })
    }

    fn check(&self, inputs: &[Input<'_>]) -> Result<(), SessionError> {
        let mut given: Vec<&str> = inputs.iter().map(Input::name).collect();
        let mut known: Vec<&str> = self.inputs.iter().map(|port| port.name.as_str()).collect();
        given.sort_unstable();
        known.sort_unstable();
        if given != known {
            return Err(self.wrong_inputs(given.into_iter().map(str::to_owned).collect()));
        }
        for input in inputs {
            let port = self.input(input.name())?;
            let shape = input.shape();
            let fits = port.shape.len() == shape.len()
                && port.shape.iter().zip(shape).all(|(declared, &given)| declared.is_none_or(|size| size == given));
            if !fits {
                return Err(SessionError::WrongShape {
                    graph: self.graph.clone(),
                    input: port.name.clone(),
                    declared: port.shape_text(),
                    given: shape.to_vec(),
                });
            }
            let needed = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
            if needed != Some(input.len()) {
                return Err(SessionError::WrongLength {
                    graph: self.graph.clone(),
                    input: port.name.clone(),
                    shape: shape.to_vec(),
                    given: input.len(),
                });
            }
        }
        Ok(())
    }

    fn wrong_inputs(&self, given: Vec<String>) -> SessionError {
        let declared = self.inputs.iter().map(|port| port.name.clone()).collect();
        SessionError::WrongInputs { graph: self.graph.clone(), declared, given }
    }
}

impl Port {
    fn shape_text(&self) -> String {
        let dims: Vec<String> =
            self.shape.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |size| size.to_string())).collect();
        format!("[{}]", dims.join(", "))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.shape_text())
    }
}

impl Input<'_> {
    fn name(&self) -> &str {
        match self {
            Self::F32 { name, .. } | Self::I64 { name, .. } => name,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::F32 { shape, .. } | Self::I64 { shape, .. } => shape,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32 { values, .. } => values.len(),
            Self::I64 { values, .. } => values.len(),
        }
    }
}

/// tract takes the graph level and nothing else: thread counts and providers are errors there.
fn builder(engine: &Engine, intra_threads: usize) -> ort::Result<SessionBuilder> {
    let builder = ort::session::Session::builder(engine.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(forget_builder)?;
    match engine.kind() {
        EngineKind::Tract => Ok(builder),
        EngineKind::OnnxRuntime => builder.with_intra_threads(intra_threads).map_err(forget_builder),
    }
}

/// A failed option gives the builder back; here the call is given up.
fn forget_builder(error: ort::Error<SessionBuilder>) -> ort::Error {
    ort::Error::new_with_code(error.code(), error.message().to_owned())
}

fn declared(graph: &str, port: &ort::value::Outlet) -> Result<Port, SessionError> {
    match port.dtype() {
        ValueType::Tensor { shape, ty, .. } if *ty != TensorElementType::String => Ok(Port {
            name: port.name().to_owned(),
            // A free dimension is declared as -1.
            shape: shape.iter().map(|&dim| usize::try_from(dim).ok()).collect(),
        }),
        _ => Err(SessionError::NotATensor { graph: graph.to_owned(), port: port.name().to_owned() }),
    }
}
