//! From DataFusion's errors to ours, and back when ours must travel through DataFusion.
//!
//! An error of ours that was raised inside a stream comes out unchanged. What DataFusion reports itself gets a
//! code; its run-time texts quote row values in ways that cannot be told from words, so no part of them leaves
//! this module but the name of a type.

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error};
use synqx_sdk::type_names::render_type;

/// Sends one of our errors through DataFusion.
pub(crate) fn outward(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// When DataFusion reports: while planning (texts quote the document) or while running (texts may quote rows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Compiling the document.
    Planning,
    /// Moving rows.
    Running,
}

/// A coded error from DataFusion's.
pub(crate) fn inward(error: DataFusionError, phase: Phase) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => match other.downcast::<ArrowError>() {
                Ok(arrow) => arrow_trouble(*arrow),
                Err(other) if phase == Phase::Planning => planning_trouble(&other.to_string()),
                Err(_) => running_trouble(),
            },
        },
        DataFusionError::Shared(shared) => shared_trouble(&shared, phase),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => inward(*inner, phase),
        DataFusionError::Collection(mut all) if !all.is_empty() => inward(all.swap_remove(0), phase),
        DataFusionError::ArrowError(arrow, _) => arrow_trouble(*arrow),
        DataFusionError::SchemaError(schema, _) => schema_trouble(&schema),
        DataFusionError::SQL(parser, _) => Error::new(Code::E0801, "the SQL does not parse")
            .with_detail(format!("{parser}."))
            .with_hint("expressions are written in PostgreSQL's spelling"),
        DataFusionError::ResourcesExhausted(text) => {
            Error::new(Code::E0804, "the memory budget does not hold this step")
                .with_detail(format!("{}.", text.trim_end_matches('.')))
                .with_hint("run with a larger `--memory`")
        }
        DataFusionError::IoError(io) => Error::new(Code::E0806, "cannot write or read spill files")
            .with_cause(&io)
            .with_hint("free disk space for the temporary folder, or set TMPDIR to another disk"),
        DataFusionError::NotImplemented(text) if phase == Phase::Planning => {
            Error::new(Code::E0802, "the SQL uses something the engine does not have")
                .with_detail(format!("{text}."))
                .with_hint("write it another way")
        }
        other if phase == Phase::Planning => planning_trouble(&other.strip_backtrace()),
        _ => running_trouble(),
    }
}

fn shared_trouble(shared: &std::sync::Arc<DataFusionError>, phase: Phase) -> Error {
    let mut current: &DataFusionError = shared;
    loop {
        match current {
            DataFusionError::Shared(inner) => current = inner,
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => current = inner,
            DataFusionError::External(inner) => {
                return match inner.downcast_ref::<Error>() {
                    Some(ours) => ours.clone(),
                    None => running_trouble(),
                };
            }
            DataFusionError::ResourcesExhausted(text) => {
                return inward(DataFusionError::ResourcesExhausted(text.clone()), phase);
            }
            DataFusionError::ArrowError(arrow, _) => return arrow_trouble_ref(arrow),
            other if phase == Phase::Planning => return planning_trouble(&other.strip_backtrace()),
            _ => return running_trouble(),
        }
    }
}

/// A type that a run-time text names as the target of a conversion: the only thing of it that may be said.
fn target(text: &str) -> Option<String> {
    let names = r"\bto (?:value of |type )?([A-Z][A-Za-z0-9]+(?:\([^()']*\))?)";
    let found = regex::Regex::new(names).ok()?.captures_iter(text).last()?;
    let data_type: DataType = found.get(1)?.as_str().parse().ok()?;
    Some(render_type(&data_type))
}

fn schema_trouble(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            Error::new(Code::E0401, format!("there is no column `{}`", field.name))
                .with_hint(case_hint(&field.name, &names))
        }
        SchemaError::AmbiguousReference { field } => Error::new(
            Code::E0802,
            format!("column `{}` exists on several inputs", field.name),
        )
        .with_hint("write it with the input's name before it, such as `left.id`"),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => duplicate(name),
    }
}

/// Two columns of one name.
pub(crate) fn duplicate(name: &str) -> Error {
    Error::new(Code::E0406, format!("the result has two columns called `{name}`"))
        .with_hint(format!("rename one of them: `… as {name}_2`"))
}

/// The nearest column; SQL folds unquoted names to lower case, so a name that differs only in case needs quotes.
fn case_hint(wanted: &str, names: &[&str]) -> String {
    match names
        .iter()
        .find(|name| name.to_lowercase() == wanted.to_lowercase() && **name != wanted)
    {
        Some(name) => format!("did you mean `\"{name}\"`? SQL reads unquoted names in lower case"),
        None => did_you_mean(wanted, names.iter().copied()),
    }
}

fn planning_trouble(text: &str) -> Error {
    // DataFusion asks for a bug report of its own, in ten lines.
    let text = text
        .split("This issue was likely caused")
        .next()
        .unwrap_or_default();
    let text = text
        .trim_start_matches("Error during planning: ")
        .trim_start_matches("Internal error: ")
        .trim()
        .trim_end_matches('.')
        .to_owned();
    let type_words = [
        "coerc",
        "Cannot infer common",
        "No function matches",
        "non-boolean",
        "type",
        "cast",
    ];
    if type_words.iter().any(|word| text.contains(word)) {
        return Error::new(Code::E0402, "the types of an expression do not fit")
            .with_detail(format!("{text}."))
            .with_hint("convert explicitly, such as `cast(x as bigint)`");
    }
    Error::new(Code::E0802, "the SQL cannot be planned")
        .with_detail(format!("{text}."))
        .with_hint("look at the named function, table or column")
}

fn running_trouble() -> Error {
    Error::new(Code::E0803, "the SQL failed while running")
        .with_detail("An expression has no result for some row.")
        .with_hint("look at the node's expressions; `try_cast` and `nullif` turn bad values into NULL")
}

fn arrow_trouble(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(_) => running_trouble(),
        },
        other => arrow_trouble_ref(&other),
    }
}

fn arrow_trouble_ref(error: &ArrowError) -> Error {
    match error {
        ArrowError::CastError(text) | ArrowError::ParseError(text) => {
            let message = match target(text) {
                Some(target) => format!("a value cannot be converted to {target}"),
                None => "a value cannot be converted".to_owned(),
            };
            Error::new(Code::E0404, message)
                .with_hint("use a `cast` node with `on_error: null` or `on_error: quarantine` to keep going")
        }
        ArrowError::DivideByZero => {
            Error::new(Code::E0803, "division by zero").with_hint("divide by `nullif(x, 0)`")
        }
        ArrowError::ArithmeticOverflow(_) => out_of_range(),
        ArrowError::InvalidArgumentError(text) | ArrowError::ComputeError(text)
            if ["too large to store", "too small to store", "verflow"]
                .iter()
                .any(|words| text.contains(words)) =>
        {
            out_of_range()
        }
        ArrowError::IoError(text, _) => Error::new(Code::E0806, "cannot write or read spill files")
            .with_detail(format!("{text}."))
            .with_hint("free disk space for the temporary folder, or set TMPDIR to another disk"),
        _ => running_trouble(),
    }
}

fn out_of_range() -> Error {
    Error::new(Code::E0404, "a number is out of range of its type")
        .with_hint("cast to a wider type before computing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(error: DataFusionError) -> Error {
        inward(error, Phase::Running)
    }

    fn arrow(error: ArrowError) -> Error {
        running(DataFusionError::ArrowError(Box::new(error), None))
    }

    #[test]
    fn row_values_never_leave() {
        let texts = [
            "Cannot cast string 'O'Brien 4111 secret' to value of Int64 type",
            "Can't cast value 4111 to type Int8",
            "Cannot cast to Decimal128(10, 2). Overflowing on 4111",
            "4111 is too large to store in a Decimal128 of precision 10",
            "Error parsing timestamp from '4111 secret': error parsing date",
        ];
        for text in texts {
            let text = text.to_owned();
            for error in [
                arrow(ArrowError::CastError(text.clone())),
                arrow(ArrowError::ParseError(text.clone())),
                arrow(ArrowError::ComputeError(text.clone())),
                arrow(ArrowError::InvalidArgumentError(text.clone())),
                arrow(ArrowError::ArithmeticOverflow(text.clone())),
                arrow(ArrowError::ExternalError(text.clone().into())),
                running(DataFusionError::Execution(text.clone())),
                running(DataFusionError::Internal(text.clone())),
                running(DataFusionError::External(text.clone().into())),
                running(DataFusionError::NotImplemented(text.clone())),
                running(DataFusionError::Shared(std::sync::Arc::new(
                    DataFusionError::Execution(text.clone()),
                ))),
            ] {
                let shown = format!("{error:?}");
                assert!(!shown.contains("4111") && !shown.contains("secret"), "{shown}");
            }
        }
        let error = arrow(ArrowError::CastError(texts[0].into()));
        assert_eq!(error.code(), Code::E0404);
        assert_eq!(error.message(), "a value cannot be converted to bigint");
        let error = arrow(ArrowError::CastError(texts[2].into()));
        assert_eq!(error.message(), "a value cannot be converted to decimal(10,2)");
    }

    #[test]
    fn nobody_is_sent_to_file_a_bug_elsewhere() {
        let internal = DataFusionError::Internal("the plan is odd".into());
        let error = inward(internal, Phase::Planning);
        assert_eq!(error.detail(), Some("the plan is odd."));
    }

    #[test]
    fn our_errors_come_back_unchanged() {
        let ours = Error::new(Code::E0206, "ragged");
        let wrapped = DataFusionError::Context("outer".into(), Box::new(outward(ours.clone())));
        assert_eq!(inward(wrapped, Phase::Running), ours);
    }
}
