//! Says what is wrong when tables that are walked side by side do not agree.

use weft_core::rows::{DocumentRow, ReadError, Rows};
use weft_core::stage::StageError;
use weft_core::table::Table;

/// The error for an image that an earlier table has and `table` lacks.
pub(crate) fn missing_row(table: &'static str, document_id: &str, image_index: u32) -> StageError {
    damaged(table, document_id, format!("there is no row for image {image_index}"))
}

/// The error for a document whose rows of `table` contradict those of another table.
pub(crate) fn damaged(table: &'static str, document_id: &str, cause: String) -> StageError {
    StageError::Outside {
        what: "table",
        place: format!("{table}, document {document_id}"),
        cause,
        way_out: "remove it from the store and run again, so that its stage writes it anew",
        retry: false,
    }
}

/// Passes over the rows of `document_id` if they come next, one at a time: none is held.
pub(crate) fn skip_document<T: Table>(rows: &mut Rows<T>, document_id: &str) -> Result<(), ReadError>
where
    for<'a> T::Row<'a>: DocumentRow,
{
    while rows.peek()?.is_some_and(|row| row.document_id() == document_id) {
        rows.next()?;
    }
    Ok(())
}
