//! One file a command.

pub(crate) mod explain;
pub(crate) mod inspect;
pub(crate) mod locate;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod probe;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod verify;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use weft_core::store::Store;

use crate::cli::RecipeArgs;
use crate::ledger::DigestCache;
use crate::plan::Plan;
use crate::recipe::Recipe;

/// A recipe opened: what to do, and where its output lies.
pub(crate) struct Opened {
    pub(crate) recipe: Recipe,
    pub(crate) plan: Plan,
    pub(crate) store: Store,
    pub(crate) output: PathBuf,
}

/// Reads a recipe, resolves it and plans it.
pub(crate) fn open(args: &RecipeArgs) -> anyhow::Result<Opened> {
    let (_, output) = crate::recipe::output_folder(args)?;
    let mut digests = DigestCache::open(&output)?;
    let mut recipe = crate::recipe::read(&args.recipe, &args.set, &mut digests)?;
    recipe.resources.engine = crate::worker::find_engine(recipe.engine, &recipe.resources)?;
    let plan = Plan::new(&recipe, weft_stages::all(), recipe.resources.clone())
        .with_context(|| format!("recipe {} cannot be run", args.recipe.display()))?;
    let store = Store::local(&output)?;
    Ok(Opened { recipe, plan, store, output })
}

/// Prints to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
