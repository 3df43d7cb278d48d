//! Loads an ONNX Runtime library by hand: the one place with `unsafe` outside the training package.
//!
//! `ort` is built with `alternative-backend`, so it takes its table of functions from us. A library, once it has
//! shown the entry point, stays loaded until the process ends: it starts threads and registers exit handlers, so
//! there is no safe moment to unload it.

use std::ffi::{CStr, OsStr};

use ort::sys::{ORT_API_VERSION, OrtApi, OrtApiBase};

/// Why a library cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system's loader refused it.
    #[error("the system's loader refused it")]
    Refused(#[source] libloading::Error),
    /// It is a library, but not this one.
    #[error("it has no `OrtGetApiBase`, so it is not ONNX Runtime")]
    NotOnnxRuntime(#[source] libloading::Error),
    /// It gives no table at all.
    #[error("its `OrtGetApiBase` gives nothing")]
    NoBase,
    /// Its table is older than the one that this program was built for.
    #[error("it is ONNX Runtime {found}; at least 1.{needed} is needed")]
    TooOld {
        /// The library's version.
        found: String,
        /// The oldest minor version that will do.
        needed: u32,
    },
}

/// The functions of a library that stays loaded for good.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The table to hand to `ort::set_api`.
    pub(crate) api: OrtApi,
    /// The library's own version, such as `1.32.0`.
    pub(crate) version: String,
}

/// Loads `library`: a path, or a bare name for the system's loader to find.
#[expect(unsafe_code, reason = "a C library is loaded and its entry point called")]
pub(crate) fn load(library: &OsStr) -> Result<Loaded, LoadError> {
    // SAFETY: loading runs the library's initialisers. The path is one that the operator named or installed, or
    // that the system's own loader resolves, so it is trusted as much as this program's other libraries.
    let library = unsafe { libloading::Library::new(library) }.map_err(LoadError::Refused)?;
    // SAFETY: `OrtGetApiBase` has had this signature since ONNX Runtime 1.0, and the name is its own.
    let entry = unsafe { library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(b"OrtGetApiBase") };
    let entry = *entry.map_err(LoadError::NotOnnxRuntime)?;
    // The tables and the code behind them must outlive every session, and `entry` is a bare pointer from here on.
    std::mem::forget(library);
    // SAFETY: the entry point takes nothing and may be called at any time; its library is never unloaded.
    let base = unsafe { entry() };
    // SAFETY: the pointer is null or leads to a constant table inside the library, which is never unloaded.
    let base = unsafe { base.as_ref() }.ok_or(LoadError::NoBase)?;
    // SAFETY: takes nothing, gives a constant string that ends in a zero.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    // SAFETY: takes a number by value; gives null where the library is older than that version.
    let api = unsafe { (base.GetApi)(ORT_API_VERSION) };
    // SAFETY: not null means a constant table of at least the fields of the version that was asked for.
    let api = unsafe { api.as_ref() };
    match api {
        Some(api) => Ok(Loaded { api: api.clone(), version }),
        None => Err(LoadError::TooOld { found: version, needed: ORT_API_VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_of_another_kind_is_told_from_an_absent_one() {
        let absent = load(OsStr::new("/nowhere/libonnxruntime.so")).unwrap_err();
        assert!(matches!(absent, LoadError::Refused(_)), "{absent}");
        let other = load(OsStr::new("libm.so.6")).unwrap_err();
        assert!(matches!(other, LoadError::NotOnnxRuntime(_)), "{other}");
    }
}
