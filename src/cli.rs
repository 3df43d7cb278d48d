//! The command line: what the user typed, and the exit code.
//!
//! Exit codes: 0 done, 1 failed or found wanting, 2 wrong usage, 130 interrupted (run the same command to go on).

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::command;

/// Rebuilds Multimodal C4: from C4 documents and a crawl to interleaved image-text shards.
#[derive(Debug, Parser)]
#[command(name = "weft", version, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a recipe, or what is left of it, to finished shards
    Run(command::run::RunArgs),
    /// Find the records of a recipe's documents in its crawl, and publish the mapping by itself
    Locate(command::locate::LocateArgs),
    /// Show what a run would do, and why
    Plan(RecipeArgs),
    /// Show how far a recipe's run is
    Status(RecipeArgs),
    /// Print the rows of any table of a run
    Inspect(command::inspect::InspectArgs),
    /// Check every file and every count of a run
    Verify(RecipeArgs),
    /// Tell the life of one document, given by its url, its id, or the URL of one of its images
    Explain(command::explain::ExplainArgs),
    /// Show what the readers make of archives, index keys, pages, pictures, matrices and text
    Probe(command::probe::ProbeArgs),
    /// Manage graphs and the runtime that computes them
    #[command(subcommand)]
    Models(command::models::ModelsCommand),
}

/// Which recipe, and where its output lies.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecipeArgs {
    /// The recipe, a TOML file
    #[arg(value_name = "RECIPE")]
    pub(crate) recipe: PathBuf,
    /// Where tables and shards lie [default: out/<recipe's name>]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Set a key of the recipe, as `stages.select.nsfw_max=0.2`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// The same for a command whose own subject comes first.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecipeOption {
    /// The recipe, a TOML file
    #[arg(long, value_name = "RECIPE")]
    recipe: PathBuf,
    /// Where tables and shards lie [default: out/<recipe's name>]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Set a key of the recipe, as `stages.select.nsfw_max=0.2`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl From<RecipeOption> for RecipeArgs {
    fn from(option: RecipeOption) -> Self {
        Self { recipe: option.recipe, output: option.output, set: option.set }
    }
}

/// Parses, runs one command, and turns its outcome into an exit code.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap prints each where it belongs.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return if error.print().is_ok() { ExitCode::from(code) } else { ExitCode::FAILURE };
        }
    };
    log_to_stderr();
    let outcome = match cli.command {
        Command::Run(args) => command::run::run(&args),
        Command::Locate(args) => command::locate::run(args),
        Command::Plan(args) => command::plan::run(&args),
        Command::Status(args) => command::status::run(&args),
        Command::Inspect(args) => command::inspect::run(&args),
        Command::Verify(args) => command::verify::run(&args),
        Command::Explain(args) => command::explain::run(&args),
        Command::Probe(args) => command::probe::run(&args),
        Command::Models(args) => command::models::run(&args),
    };
    match outcome {
        Ok(code) => code,
        // A reader that has seen enough (`| head`) is no failure of ours.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind_of = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        io.or_else(|| cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind))
    };
    error.chain().any(|cause| kind_of(cause) == Some(std::io::ErrorKind::BrokenPipe))
}

fn say_error(error: &anyhow::Error) {
    let mut text = format!("error: {error}\n");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Wrappers often repeat their cause.
        if !last.contains(&cause) {
            text.push_str("  because: ");
            text.push_str(&cause);
            text.push('\n');
        }
        last = cause;
    }
    // Nothing is left to tell when even standard error is closed.
    drop(std::io::stderr().write_all(text.as_bytes()));
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WEFT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,weft=info,weft_stages=info,weft_models=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(crate::runner::progress::Lines::new)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
}
