//! Incremental reads of files without a cursor column: the files that no earlier run has read.
//!
//! The position is a mark that the source made: the files there were when the read began. It is committed with the
//! rows like any other. Only a run that had published something reads the same files again; any other lists them anew.

use synqx_model::spec::WriteMode;
use synqx_model::{Code, Error, Result, RunId};
use synqx_plan::OpenSource;
use synqx_sdk::FileRange;

use crate::RunOptions;
use crate::incremental::{Interval, One, Stored};

/// What a position calls its column when it is a list of files.
pub(crate) const COLUMN: &str = "(files)";
/// The type of its value.
pub(crate) const TYPE: &str = "files";

impl One<'_> {
    /// Narrows a source to its new files. Errors: `E0103`, `E0501`, `E0502`, `E02xx`.
    pub(crate) async fn new_files(
        &self,
        source: &mut OpenSource,
        options: &RunOptions,
        known: Option<(RunId, Interval)>,
        stored: &mut Stored,
    ) -> Result<Interval> {
        let published = |run: RunId, stored: &Stored| {
            let of = |load: &str| stored.by_load.get(load).and_then(Option::as_ref);
            let runs = self.loads.iter().filter_map(|(load, _)| of(load));
            runs.filter(|committed| committed.run == run).count()
        };
        let interval = match known {
            Some((run, interval)) if published(run, stored) == self.loads.len() => Interval {
                // Nothing is left to read: the run had published everything.
                from: interval.to.clone(),
                to: interval.to,
            },
            Some((run, interval))
                if published(run, stored) > 0 && self.may_resume(run, &interval, options, stored)? =>
            {
                interval
            }
            _ => self.list_files(source, options, stored).await?,
        };
        source.dataset.files = interval.to.clone().map(|to| FileRange {
            from: interval.from.clone(),
            to,
        });
        Ok(interval)
    }

    async fn list_files(
        &self,
        source: &OpenSource,
        options: &RunOptions,
        stored: &mut Stored,
    ) -> Result<Interval> {
        let before = match options.reset {
            true => None,
            false => self.stored_position(source, options, stored)?,
        };
        let adopted = before.as_ref().is_some_and(|position| position.cursor.is_none());
        let from = before
            .and_then(|position| position.cursor)
            .map(|cursor| cursor.value);
        let reads = source
            .connection
            .source()
            .ok_or_else(|| Error::bug("a source that does not read"))?;
        let found = reads
            .new_files(&source.dataset, from.as_deref())
            .await?
            .ok_or_else(|| {
                Error::new(Code::E0103, "an incremental extract needs a `cursor`")
                    .with_hint("name a column that only grows: `cursor: updated_at`")
            })?;
        if let Some(first) = found.again.first().filter(|_| !self.idempotent) {
            return Err(Error::new(
                Code::E0103,
                format!("`{first}` has changed, and a load would have its rows twice"),
            )
            .with_detail("`rewritten: reread` reads the whole file again.")
            .with_hint("use `write: upsert` with a key, or write new rows to new files"));
        }
        if !found.again.is_empty() {
            stored.notes.push(format!(
                "{} files of `{}` have changed and are read again",
                found.again.len(),
                self.node
            ));
        }
        Ok(Interval {
            from: if adopted { Some(found.mark.clone()) } else { from },
            to: Some(found.mark),
        })
    }
}

/// What an extract without a cursor column may not say. Errors: `E0103`.
pub(crate) fn check(extract: &synqx_model::spec::Extract, modes: &[WriteMode]) -> Result<()> {
    if extract.lookback.is_some() {
        return Err(Error::new(Code::E0103, "`lookback` needs a `cursor`").with_hint(
            "name a column of times, or leave `lookback` out: new files are found whatever their names",
        ));
    }
    if modes.contains(&WriteMode::Replace) {
        return Err(crate::incremental::replaces());
    }
    Ok(())
}
