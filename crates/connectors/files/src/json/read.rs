//! Reads JSON (to come).
//!
//! Objects of a file.
use synqx_model::{Code, Error, Result};
use synqx_sdk::lane::Sender;
use crate::content::Opened;
use crate::read::FileTask;
pub(crate) fn read(_task: &FileTask, _opened: Opened, _sender: &Sender) -> Result<()> {
    Err(Error::new(Code::E0111, "reading JSON is not available yet").with_hint("use CSV or Parquet"))
}
