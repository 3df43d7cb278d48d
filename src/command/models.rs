//! `weft models`: graphs, and the runtime that computes them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use weft_models::runtime::{RuntimeKind, install};

use crate::command::print;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Install ONNX Runtime from its pinned wheel, by pip, into .ort
    InstallRuntime {
        /// Which build
        #[arg(value_enum, default_value_t = Kind::Cpu)]
        kind: Kind,
        /// Where to
        #[arg(long, value_name = "DIR", default_value = ".ort")]
        into: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// For any x86-64 processor
    Cpu,
    /// With OpenVINO: bf16 on processors that have it
    Openvino,
    /// With CUDA 13
    Gpu,
}

pub(crate) fn run(command: &ModelsCommand) -> anyhow::Result<ExitCode> {
    let ModelsCommand::InstallRuntime { kind, into } = command;
    let kind = match kind {
        Kind::Cpu => RuntimeKind::Cpu,
        Kind::Openvino => RuntimeKind::OpenVino,
        Kind::Gpu => RuntimeKind::Gpu,
    };
    let installed = install(kind, into)?;
    print(&format!("installed {}\n", installed.library.display()))?;
    Ok(ExitCode::SUCCESS)
}
