//! Installs an ONNX Runtime library from the wheels that its makers publish.
//!
//! A wheel is a zip; the library and what it loads lie in one folder of it. `pip` fetches the wheels, so the
//! machine's own settings (proxy, mirror) hold; the digests pinned here decide whether they are taken. All
//! libraries go flat into one folder that is laid out beside the target and put in place by a rename: a reader
//! sees all of an installation or nothing of it.
//!
//! The CUDA provider does not look for NVIDIA's libraries beside itself: whoever turns it on has to load them
//! first (from the same folder) or to set the loader's path.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::card::digest_of;

/// Where ONNX Runtime's own wheels keep their libraries.
const CAPI: &str = "onnxruntime/capi";
/// Where NVIDIA's wheels for CUDA 13 do.
const CUDA: &str = "nvidia/cu13/lib";
/// How the name of the library to load begins.
const LIBRARY_STEM: &str = "libonnxruntime.so";
/// The names under which wheels for x86-64 Linux are published.
const PLATFORMS: [&str; 4] =
    ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"];

/// The builds of ONNX Runtime that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// The plain build, 28 MB packed.
    Cpu,
    /// With Intel's OpenVINO, 84 MB packed; five times as fast on processors with AMX.
    OpenVino,
    /// With CUDA 13 and NVIDIA's libraries for it, 1.6 GB packed; the driver must be on the machine.
    Gpu,
}

/// A wheel as it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// What `pip` is asked for, such as `onnxruntime==1.32.0`.
    pub requirement: &'static str,
    /// Of the file for `CPython` 3.12 on x86-64 Linux; the libraries inside do not depend on Python.
    pub sha256: &'static str,
    /// Where the libraries are inside.
    folder: &'static str,
}

/// What an installation left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The library to load.
    pub library: PathBuf,
    /// The wheels that the folder was filled from, ONNX Runtime's own first.
    pub wheels: &'static [Wheel],
}

/// Why nothing was installed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// There are no pinned wheels for this machine.
    #[error("the wheels of ONNX Runtime that are known here are for x86-64 Linux, not {machine}")]
    WrongMachine {
        /// The machine.
        machine: String,
    },
    /// Python is not there.
    #[error("failed to start `python3`: install Python 3 with pip, or put a library in place by hand")]
    NoPython(#[source] io::Error),
    /// Python ended with an error.
    #[error("`python3 -m {module}` failed: {said}")]
    Python {
        /// The module that was run.
        module: &'static str,
        /// The end of what it wrote.
        said: String,
    },
    /// `pip` said that all went well but did not leave one wheel.
    #[error("`pip download {requirement}` left {found} files, not one wheel")]
    NotOneWheel {
        /// What was asked for.
        requirement: &'static str,
        /// How many files there are.
        found: usize,
    },
    /// The wheel is another than the one pinned.
    #[error("the wheel of {requirement} has the SHA-256 {found}, not {wanted}: refused")]
    Digest {
        /// What was asked for.
        requirement: &'static str,
        /// The digest pinned.
        wanted: &'static str,
        /// The wheel's digest.
        found: String,
    },
    /// The wheel holds no library.
    #[error("the wheel of {requirement} holds no {wanted} in `{folder}`")]
    NoLibrary {
        /// What was asked for.
        requirement: &'static str,
        /// What it should hold.
        wanted: &'static str,
        /// Where.
        folder: &'static str,
    },
    /// A file or folder cannot be written.
    #[error("failed to {doing} `{}`", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl RuntimeKind {
    /// The wheels that it takes, ONNX Runtime's own first.
    pub fn wheels(self) -> &'static [Wheel] {
        match self {
            Self::Cpu => &[Wheel {
                requirement: "onnxruntime==1.32.0",
                sha256: "99e1074c4b2197accd5073052a465361be17b89c093b8ffb6e6bd8f986c52df8",
                folder: CAPI,
            }],
            Self::OpenVino => &[Wheel {
                requirement: "onnxruntime-openvino==1.24.1",
                sha256: "d617fac2f59a6ab5ea59a788c3e1592240a129642519aaeaa774761dfe35150e",
                folder: CAPI,
            }],
            Self::Gpu => &[
                Wheel {
                    requirement: "onnxruntime-gpu==1.31.1",
                    sha256: "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
                    folder: CAPI,
                },
                Wheel {
                    requirement: "nvidia-cuda-runtime==13.5.37",
                    sha256: "df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d",
                    folder: CUDA,
                },
                Wheel {
                    requirement: "nvidia-cuda-nvrtc==13.5.37",
                    sha256: "86b4d68058807988b7d9af5b44917a0601e9c337f35ccd657bfb3c759ff8d8bc",
                    folder: CUDA,
                },
                Wheel {
                    requirement: "nvidia-nvjitlink==13.5.37",
                    sha256: "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
                    folder: CUDA,
                },
                Wheel {
                    requirement: "nvidia-cublas==13.10.0.20",
                    sha256: "dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84",
                    folder: CUDA,
                },
                Wheel {
                    requirement: "nvidia-cufft==12.5.0.14",
                    sha256: "b8be26837a5abad2b5b74f3e92dd29f622a42934b355be0961a48712cbba23ad",
                    folder: CUDA,
                },
                Wheel {
                    requirement: "nvidia-curand==10.4.5.25",
                    sha256: "22bb226a857e5888fe6b54ae465fc4371296bcff13a35f79e19691bcf454f529",
                    folder: CUDA,
                },
                Wheel {
                    requirement: "nvidia-cudnn-cu13==9.28.1.4",
                    sha256: "a54f205b1db1f2895d99f398754db1369816f0569dd459731f925635cf7b65ec",
                    folder: "nvidia/cudnn/lib",
                },
            ],
        }
    }
}

/// Installs a library into the folder `into`, which an earlier installation may fill: it is replaced as a whole.
///
/// Takes as long as the download. Asked again after a failure, starts anew.
///
/// # Errors
/// [`RuntimeError`]; `into` is then as it was.
pub fn install(kind: RuntimeKind, into: &Path) -> Result<Installed, RuntimeError> {
    let machine = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    if machine != "x86_64-linux" {
        return Err(RuntimeError::WrongMachine { machine });
    }
    let work = Work::beside(into)?;
    let staged = work.folder("staged")?;
    let wheels = kind.wheels();
    let mut library = None;
    for (index, &wheel) in wheels.iter().enumerate() {
        let downloads = work.folder(&format!("download-{index}"))?;
        download(wheel, &downloads)?;
        let file = verified(wheel, &downloads)?;
        let unpacked = work.folder(&format!("unpacked-{index}"))?;
        python("zipfile", &["-e".as_ref(), file.as_os_str(), unpacked.as_os_str()])?;
        let found = stage(wheel, &unpacked.join(wheel.folder), &staged)?;
        library = library.or(found);
    }
    let Some(library) = library else {
        let Wheel { requirement, folder, .. } = wheels[0];
        return Err(RuntimeError::NoLibrary { requirement, wanted: LIBRARY_STEM, folder });
    };
    replace(&staged, into, &work.path.join("before"))?;
    Ok(Installed { library: into.join(library), wheels })
}

/// A folder beside the target, on the same file system, that goes away with this value.
#[derive(Debug)]
struct Work {
    path: PathBuf,
}

impl Work {
    fn beside(into: &Path) -> Result<Self, RuntimeError> {
        let parent = match into.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(failed("create", parent))?;
        let name = into.file_name().unwrap_or("ort".as_ref()).display();
        let path = parent.join(format!("{name}.installing-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(failed("create", &path))?;
        Ok(Self { path })
    }

    fn folder(&self, name: &str) -> Result<PathBuf, RuntimeError> {
        let path = self.path.join(name);
        std::fs::create_dir(&path).map_err(failed("create", &path))?;
        Ok(path)
    }
}

impl Drop for Work {
    #[expect(clippy::disallowed_methods, reason = "the installer's own scratch folder, outside any store")]
    fn drop(&mut self) {
        if let Err(cause) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %cause, "failed to remove a scratch folder");
        }
    }
}

fn download(wheel: Wheel, into: &Path) -> Result<(), RuntimeError> {
    let mut arguments: Vec<&OsStr> = Vec::new();
    for argument in [
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        "3.12",
    ] {
        arguments.push(argument.as_ref());
    }
    for platform in PLATFORMS {
        arguments.extend(["--platform".as_ref(), platform.as_ref()] as [&OsStr; 2]);
    }
    arguments.extend(["--dest".as_ref(), into.as_os_str(), wheel.requirement.as_ref()]);
    python("pip", &arguments)
}

/// The one wheel in `folder`, if it is the one pinned.
fn verified(wheel: Wheel, folder: &Path) -> Result<PathBuf, RuntimeError> {
    let requirement = wheel.requirement;
    let mut files = entries(folder)?;
    let found = files.len();
    let file = match files.pop() {
        Some(file) if found == 1 && file.extension() == Some("whl".as_ref()) => file,
        _ => return Err(RuntimeError::NotOneWheel { requirement, found }),
    };
    let found = digest_of(&file).map_err(failed("read", &file))?;
    if found != wheel.sha256 {
        return Err(RuntimeError::Digest { requirement, wanted: wheel.sha256, found });
    }
    Ok(file)
}

/// Moves the libraries of an unpacked wheel to `staged`; gives the name of ONNX Runtime's own, if it is there.
#[expect(clippy::disallowed_methods, reason = "moves the installer's own files, outside any store")]
fn stage(wheel: Wheel, libraries: &Path, staged: &Path) -> Result<Option<String>, RuntimeError> {
    let mut library = None;
    let mut moved = 0_u32;
    let files = if libraries.is_dir() { entries(libraries)? } else { Vec::new() };
    for file in files {
        let Some(name) = file.file_name().and_then(OsStr::to_str).map(str::to_owned) else { continue };
        // Python's own binding is of no use here.
        if !name.starts_with("lib") || !(name.ends_with(".so") || name.contains(".so.")) {
            continue;
        }
        std::fs::rename(&file, staged.join(&name)).map_err(failed("move", &file))?;
        moved += 1;
        if name.starts_with(LIBRARY_STEM) {
            library = Some(name);
        }
    }
    if moved == 0 {
        let Wheel { requirement, folder, .. } = wheel;
        return Err(RuntimeError::NoLibrary { requirement, wanted: "library", folder });
    }
    Ok(library)
}

/// Puts `staged` at `into`; what was there is moved to `before`, and back if the second step fails.
#[expect(clippy::disallowed_methods, reason = "puts the installed folder in place, outside any store")]
fn replace(staged: &Path, into: &Path, before: &Path) -> Result<(), RuntimeError> {
    let existed = into.symlink_metadata().is_ok();
    if existed {
        std::fs::rename(into, before).map_err(failed("move", into))?;
    }
    let Err(source) = std::fs::rename(staged, into) else { return Ok(()) };
    if existed {
        std::fs::rename(before, into).map_err(failed("move back", into))?;
    }
    Err(RuntimeError::File { doing: "put in place", path: into.to_owned(), source })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, RuntimeError> {
    let listed = std::fs::read_dir(folder).map_err(failed("list", folder))?;
    let mut paths = listed
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed("list", folder))?;
    paths.sort();
    Ok(paths)
}

/// Runs `python3 -m module`.
fn python(module: &'static str, arguments: &[&OsStr]) -> Result<(), RuntimeError> {
    let output = Command::new("python3")
        .args(["-m", module])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(RuntimeError::NoPython)?;
    if output.status.success() {
        return Ok(());
    }
    Err(RuntimeError::Python { module, said: last_words(&output) })
}

/// The last lines of what a process wrote, on one line: `pip` says the cause at the end.
fn last_words(output: &Output) -> String {
    const LINES: usize = 3;
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return format!("it said nothing, {}", output.status);
    }
    lines[lines.len().saturating_sub(LINES)..].join(" / ")
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RuntimeError {
    let path = path.to_owned();
    move |source| RuntimeError::File { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create_new(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    const WHEEL: Wheel = Wheel {
        requirement: "onnxruntime==0.0.0",
        // Of the letter x.
        sha256: "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        folder: CAPI,
    };

    #[test]
    fn a_wheel_with_another_digest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a.whl"), "x");
        assert_eq!(verified(WHEEL, folder.path()).unwrap(), folder.path().join("a.whl"));
        let other = Wheel { sha256: "00", ..WHEEL };
        let error = verified(other, folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("the wheel of onnxruntime==0.0.0 has the SHA-256 2d71"), "{error}");
        write(&folder.path().join("b.whl"), "x");
        let error = verified(WHEEL, folder.path()).unwrap_err().to_string();
        assert_eq!(error, "`pip download onnxruntime==0.0.0` left 2 files, not one wheel");
    }

    #[test]
    fn only_libraries_are_kept_and_an_older_installation_goes_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("capi");
        for name in ["libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so", "state.cpython.so", "a.py"] {
            write(&capi.join(name), "x");
        }
        let into = folder.path().join(".ort");
        write(&into.join("libonnxruntime.so.1.0.0"), "old");
        let work = Work::beside(&into).unwrap();
        let staged = work.folder("staged").unwrap();
        assert_eq!(stage(WHEEL, &capi, &staged).unwrap().unwrap(), "libonnxruntime.so.1.32.0");
        replace(&staged, &into, &work.path.join("before")).unwrap();
        let names: Vec<_> = entries(&into).unwrap().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so"]);
        drop(work);
        assert_eq!(entries(folder.path()).unwrap(), [into, capi]);
    }

    #[test]
    fn a_wheel_without_a_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = stage(WHEEL, &folder.path().join("capi"), folder.path()).unwrap_err().to_string();
        assert_eq!(error, "the wheel of onnxruntime==0.0.0 holds no library in `onnxruntime/capi`");
    }

    #[test]
    fn every_digest_is_pinned_and_the_runtime_comes_first() {
        for kind in [RuntimeKind::Cpu, RuntimeKind::OpenVino, RuntimeKind::Gpu] {
            let wheels = kind.wheels();
            assert_eq!(wheels[0].folder, CAPI);
            for wheel in wheels {
                assert_eq!(wheel.sha256.len(), 64, "{}", wheel.requirement);
                assert!(wheel.requirement.contains("=="), "{}", wheel.requirement);
            }
        }
    }

    #[test]
    fn what_python_says_last_is_in_the_error() {
        let error = python("weft_no_such_module", &[]).unwrap_err().to_string();
        assert!(error.contains("weft_no_such_module"), "{error}");
    }
}
