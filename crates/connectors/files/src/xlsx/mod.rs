//! Sheets of Excel workbooks (.xlsx, .xlsm), read cell by cell.
//!
//! `guard` measures a workbook before it is opened, because its shared texts have to be in memory as a whole; `cell` is
//! what a cell means; `read` finds the header and makes batches. Formulas give the result that was stored with them.
//! Writing workbooks, old .xls files, macros, styles and merged cells are not here.

mod cell;
mod guard;
pub(crate) mod read;
