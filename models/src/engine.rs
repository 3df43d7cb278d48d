//! Chooses what runs the graphs: an ONNX Runtime library where one is found, else the embedded tract.
//!
//! The choice holds for the whole process: `ort` keeps one table of functions. Looked at in order, for
//! [`EngineChoice::Auto`]: the library that the operator named, the folder `.ort` under each root (newest version
//! first), the system's loader, tract. Every library that was looked at and lost is kept with its cause, for the
//! log. Nothing here reads the environment: the caller passes `ORT_DYLIB_PATH` in.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::session::load::{LoadError, Loaded, load};

/// The folder, under each root, where [`crate::runtime`] installs.
pub const RUNTIME_FOLDER: &str = ".ort";
/// How every file name of the library begins.
const LIBRARY_STEM: &str = "libonnxruntime.so";
/// The names that the system's loader is asked for.
const SYSTEM_NAMES: [&str; 2] = ["libonnxruntime.so.1", "libonnxruntime.so"];
/// ort-tract 0.5.0 stands on this minor version of tract; its own version string says the same.
const TRACT_VERSION: &str = "0.23";

/// The one engine of this process, once chosen.
static CHOSEN: Mutex<Option<Engine>> = Mutex::new(None);

/// Which engine is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// ONNX Runtime where it is found, else tract.
    #[default]
    Auto,
    /// ONNX Runtime or an error.
    OnnxRuntime {
        /// This library and no other; without it, the same search as for `Auto`.
        path: Option<PathBuf>,
    },
    /// The embedded engine, even where a library is at hand.
    Tract,
}

/// What to look for, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineRequest {
    /// Which engine is wanted.
    pub choice: EngineChoice,
    /// The value of `ORT_DYLIB_PATH`, if the operator set it.
    pub named_library: Option<PathBuf>,
    /// Folders that may hold a `.ort`, best first.
    pub roots: Vec<PathBuf>,
}

/// The kinds of engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// A loaded library.
    OnnxRuntime,
    /// Pure Rust, embedded; runs one call at a time, on one thread.
    Tract,
}

/// What computes inside the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// The processor, in `f32`.
    Cpu,
}

/// A place that was looked at and lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The path, or the name that the system's loader was asked for.
    pub place: PathBuf,
    /// Why it lost, with its causes.
    pub cause: String,
}

/// What runs the graphs in this process; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    kind: EngineKind,
    library: Option<PathBuf>,
    version: String,
    lost: Vec<Tried>,
    environment: ort::environment::Environment,
}

/// Why there is no engine of the wanted kind.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The search came back empty.
    #[error("found no ONNX Runtime ({})", list(tried))]
    NotFound {
        /// Every place looked at, in order.
        tried: Vec<Tried>,
    },
    /// The one library that was asked for cannot serve.
    #[error("failed to load ONNX Runtime from `{}`", path.display())]
    Load {
        /// The library.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: LoadError,
    },
    /// The process has an engine already, and it is not the one asked for.
    #[error("this process already runs {chosen} and cannot change to {asked}")]
    AlreadyChosen {
        /// The engine at work.
        chosen: String,
        /// The engine asked for.
        asked: String,
    },
    /// Something outside this package gave `ort` its functions first.
    #[error("another part of this process chose the engine before {asked} was")]
    Taken {
        /// The engine asked for.
        asked: String,
    },
    /// The engine was loaded but does not start.
    #[error("failed to start {engine}")]
    Start {
        /// The engine.
        engine: String,
        /// What it said.
        #[source]
        source: ort::Error,
    },
}

impl Engine {
    /// Finds the wanted engine and makes it this process's own; asked again, gives the same one.
    ///
    /// # Errors
    /// [`EngineError`]: nothing found, the named library unfit, or another engine already at work.
    pub fn find(request: &EngineRequest) -> Result<Self, EngineError> {
        let mut chosen = CHOSEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = chosen.as_ref() {
            return engine.answers(&request.choice);
        }
        let engine = Self::start(search(request)?)?;
        *chosen = Some(engine.clone());
        Ok(engine)
    }

    /// The kind of engine.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// What computes.
    pub fn provider(&self) -> Provider {
        Provider::Cpu
    }

    /// The loaded library, as it was asked of the loader; tract has none.
    pub fn library(&self) -> Option<&Path> {
        self.library.as_deref()
    }

    /// The engine's version: `1.32.0`; of tract the minor version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The places that were looked at before and lost.
    pub fn lost(&self) -> &[Tried] {
        &self.lost
    }

    pub(crate) fn environment(&self) -> &ort::environment::Environment {
        &self.environment
    }

    /// This engine, if it is one that `choice` would take.
    fn answers(&self, choice: &EngineChoice) -> Result<Self, EngineError> {
        let fits = match choice {
            EngineChoice::Auto => true,
            EngineChoice::OnnxRuntime { path: None } => self.kind == EngineKind::OnnxRuntime,
            EngineChoice::OnnxRuntime { path } => self.kind == EngineKind::OnnxRuntime && self.library == *path,
            EngineChoice::Tract => self.kind == EngineKind::Tract,
        };
        if fits {
            return Ok(self.clone());
        }
        let asked = match choice {
            EngineChoice::OnnxRuntime { path: Some(path) } => format!("onnxruntime at `{}`", path.display()),
            EngineChoice::OnnxRuntime { path: None } | EngineChoice::Auto => "onnxruntime".to_owned(),
            EngineChoice::Tract => "tract".to_owned(),
        };
        Err(EngineError::AlreadyChosen { chosen: self.to_string(), asked })
    }

    fn start(found: Found) -> Result<Self, EngineError> {
        let Found { library, lost } = found;
        let (kind, library, version, api) = match library {
            Some((path, loaded)) => (EngineKind::OnnxRuntime, Some(path), loaded.version, loaded.api),
            None => (EngineKind::Tract, None, TRACT_VERSION.to_owned(), ort_tract::api()),
        };
        let name = title(kind, &version, library.as_deref());
        if !ort::set_api(api) {
            return Err(EngineError::Taken { asked: name });
        }
        // The libraries of the package index send usage data on some systems unless told not to.
        let environment = ort::init()
            .with_name("weft")
            .with_telemetry(false)
            .build()
            .map_err(|source| EngineError::Start { engine: name, source })?;
        Ok(Self { kind, library, version, lost, environment })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&title(self.kind, &self.version, self.library.as_deref()))
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place.display(), self.cause)
    }
}

/// What a search ends with; no library means tract.
#[derive(Debug)]
struct Found {
    library: Option<(PathBuf, Loaded)>,
    lost: Vec<Tried>,
}

fn search(request: &EngineRequest) -> Result<Found, EngineError> {
    let required = match &request.choice {
        EngineChoice::Tract => return Ok(Found { library: None, lost: Vec::new() }),
        EngineChoice::OnnxRuntime { path: Some(path) } => {
            let loaded = load(path.as_os_str()).map_err(|source| EngineError::Load { path: path.clone(), source })?;
            return Ok(Found { library: Some((path.clone(), loaded)), lost: Vec::new() });
        }
        EngineChoice::OnnxRuntime { path: None } => true,
        EngineChoice::Auto => false,
    };

    let mut lost = Vec::new();
    for place in places(request) {
        let place = match place {
            Ok(place) => place,
            Err(tried) => {
                lost.push(tried);
                continue;
            }
        };
        match load(place.as_os_str()) {
            Ok(loaded) => return Ok(Found { library: Some((place, loaded)), lost }),
            Err(cause) => lost.push(Tried { place, cause: chain(&cause) }),
        }
    }
    if required { Err(EngineError::NotFound { tried: lost }) } else { Ok(Found { library: None, lost }) }
}

/// The libraries to try, best first; a folder without any has lost already.
fn places(request: &EngineRequest) -> Vec<Result<PathBuf, Tried>> {
    let mut places = Vec::new();
    places.extend(request.named_library.clone().map(Ok));
    for root in &request.roots {
        let folder = root.join(RUNTIME_FOLDER);
        match libraries(&folder) {
            Ok(found) if found.is_empty() => {
                places.push(Err(Tried { place: folder, cause: format!("holds no {LIBRARY_STEM}*") }));
            }
            Ok(found) => places.extend(found.into_iter().map(Ok)),
            Err(cause) => places.push(Err(Tried { place: folder, cause: cause.to_string() })),
        }
    }
    places.extend(SYSTEM_NAMES.map(|name| Ok(PathBuf::from(name))));
    places
}

/// The libraries of one folder, newest version first; one without a version in its name comes last.
fn libraries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(version) = path.file_name().and_then(library_version) {
            found.push((version, path));
        }
    }
    found.sort_by(|left, right| right.cmp(left));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The version in a library's file name, number by number; `None` for any other file.
fn library_version(name: &OsStr) -> Option<Vec<u32>> {
    let rest = name.to_str()?.strip_prefix(LIBRARY_STEM)?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    rest.strip_prefix('.')?.split('.').map(|number| number.parse().ok()).collect()
}

fn title(kind: EngineKind, version: &str, library: Option<&Path>) -> String {
    match (kind, library) {
        (EngineKind::OnnxRuntime, Some(path)) => format!("onnxruntime {version} at `{}`", path.display()),
        (EngineKind::OnnxRuntime, None) => format!("onnxruntime {version}"),
        (EngineKind::Tract, _) => format!("tract {version}"),
    }
}

/// An error with all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

fn list(tried: &[Tried]) -> String {
    tried.iter().map(Tried::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The engine of every unit test of this package: the process can have one only.
    /// The library that `WEFT_TEST_ORT_DYLIB` names, else tract: the gate runs every test on both.
    pub(crate) fn engine() -> Engine {
        let choice = match std::env::var_os("WEFT_TEST_ORT_DYLIB") {
            Some(path) => EngineChoice::OnnxRuntime { path: Some(path.into()) },
            None => EngineChoice::Tract,
        };
        Engine::find(&EngineRequest { choice, ..EngineRequest::default() }).unwrap()
    }

    #[test]
    fn a_process_keeps_its_first_engine() {
        let first = engine();
        let again = Engine::find(&EngineRequest::default()).unwrap();
        assert_eq!(again.kind(), first.kind());
        assert_eq!(again.library(), first.library());
        let choice = EngineChoice::OnnxRuntime { path: Some(PathBuf::from("/opt/libonnxruntime.so")) };
        let error = Engine::find(&EngineRequest { choice, ..EngineRequest::default() }).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("this process already runs {first} and cannot change to onnxruntime at `/opt/libonnxruntime.so`")
        );
    }

    #[test]
    fn newer_libraries_come_first_and_versions_count_as_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libonnxruntime.so", "libonnxruntime.so.1.9.0", "libonnxruntime.so.1.32.0", "libother.so.2"] {
            std::fs::File::create_new(folder.path().join(name)).unwrap();
        }
        let names: Vec<_> =
            libraries(folder.path()).unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["libonnxruntime.so.1.32.0", "libonnxruntime.so.1.9.0", "libonnxruntime.so"]);
    }

    #[test]
    fn every_place_that_lost_is_listed_with_its_cause() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join(RUNTIME_FOLDER)).unwrap();
        let empty = root.path().join(RUNTIME_FOLDER).join("libonnxruntime.so.1.30.0");
        std::fs::File::create_new(&empty).unwrap();
        let absent = PathBuf::from("/nowhere");
        let request = EngineRequest {
            choice: EngineChoice::Auto,
            named_library: Some(PathBuf::from("libm.so.6")),
            roots: vec![absent.clone(), root.path().to_owned()],
        };
        let places: Vec<PathBuf> =
            places(&request).into_iter().map(|place| place.unwrap_or_else(|tried| tried.place)).collect();
        let system = SYSTEM_NAMES.map(PathBuf::from);
        let expected = [PathBuf::from("libm.so.6"), absent.join(RUNTIME_FOLDER), empty];
        assert_eq!(places, [&expected[..], &system].concat());

        // Without its last two places, whose outcome is the machine's, every place loses for its own reason.
        let found = search(&request).unwrap();
        let causes: Vec<String> = found.lost.iter().map(Tried::to_string).collect();
        assert!(causes[0].starts_with("libm.so.6: it has no `OrtGetApiBase`"), "{causes:?}");
        assert!(causes[1].contains("No such file"), "{causes:?}");
        assert!(causes[2].contains("file too short"), "{causes:?}");
    }

    #[test]
    fn an_unfit_library_that_was_asked_for_is_an_error_and_no_fallback() {
        let choice = EngineChoice::OnnxRuntime { path: Some(PathBuf::from("libm.so.6")) };
        let error = search(&EngineRequest { choice, ..EngineRequest::default() }).unwrap_err();
        assert_eq!(error.to_string(), "failed to load ONNX Runtime from `libm.so.6`");
    }
}
