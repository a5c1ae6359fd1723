//! `sum` that is exact or an error, with PostgreSQL's types: it never wraps.
//!
//! Integers up to 32 bits give `bigint`, 64 bits give `decimal(38,0)`, decimals gain ten digits. Sums are kept in
//! 128 or 256 bits with every addition checked, and the result is checked against its type (`E0404`). Floats,
//! durations and intervals are DataFusion's own. Window sums are the same function.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, PrimitiveArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Decimal256Type,
    DecimalType, Field, FieldRef, Int32Type, Int64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::expr::{AggregateFunctionParams, WindowFunctionParams};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
    Volatility,
};

/// The function, called `sum` in documents. Its own name differs, because an optimizer rule takes every `sum` for
/// one whose result can be summed again without changing its type.
pub(crate) fn sum() -> AggregateUDF {
    AggregateUDF::new_from_impl(ExactSum {
        plain: Sum::new(),
        aliases: vec!["sum".to_owned()],
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactSum {
    plain: Sum,
    aliases: Vec<String>,
    signature: Signature,
}

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        "exact_sum"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn schema_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.plain.schema_name(params)
    }

    fn human_display(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.plain.human_display(params)
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.plain.window_function_schema_name(params)
    }

    fn display_name(&self, params: &AggregateFunctionParams) -> Result<String> {
        self.plain.display_name(params)
    }

    fn window_function_display_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.plain.window_function_display_name(params)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [argument] = types else {
            return Err(DataFusionError::Plan("sum takes one argument".into()));
        };
        Ok(vec![match argument {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
                DataType::Int32
            }
            DataType::Int64 | DataType::UInt32 | DataType::Null => DataType::Int64,
            DataType::UInt64 => DataType::Decimal128(20, 0),
            DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
            DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Duration(_)
            | DataType::Interval(_) => argument.clone(),
            other => {
                let text = format!("No function matches: sum is for numbers and intervals, not for {other}");
                return Err(DataFusionError::Plan(text));
            }
        }])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match &types[0] {
            DataType::Int32 => Ok(DataType::Int64),
            DataType::Int64 => Ok(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)),
            _ => self.plain.return_type(types),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(kept) = kept_as(args.return_type()) else {
            return self.plain.state_fields(args);
        };
        let name = format!("{}[sum]", args.name);
        Ok(vec![Arc::new(if args.is_distinct {
            Field::new_list(name, Field::new_list_field(kept, true), true)
        } else {
            Field::new(name, kept, true)
        })])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let result = args.return_field.data_type();
        match kept_as(result) {
            None => self.plain.accumulator(args),
            Some(DataType::Decimal256(..)) => Ok(One::<Decimal256Type>::boxed(result, args.is_distinct)),
            Some(_) => Ok(One::<Decimal128Type>::boxed(result, args.is_distinct)),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let exact = kept_as(args.return_field.data_type()).is_some();
        match (exact, args.is_distinct) {
            (true, true) => Err(DataFusionError::NotImplemented(
                "sum(distinct …) over a window".into(),
            )),
            (true, false) => self.accumulator(args),
            (false, _) => self.plain.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let result = args.return_field.data_type();
        match kept_as(result) {
            None => self.plain.create_groups_accumulator(args),
            Some(DataType::Decimal256(..)) => Ok(Box::new(Groups::<Decimal256Type>::new(result))),
            Some(_) => Ok(Box::new(Groups::<Decimal128Type>::new(result))),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// The type sums are kept in while they grow; none when the sum is not exact anyway.
fn kept_as(result: &DataType) -> Option<DataType> {
    match result {
        DataType::Int64 => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)),
        DataType::Decimal128(_, scale) => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale)),
        DataType::Decimal256(_, scale) => Some(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale)),
        _ => None,
    }
}

/// A batch of arguments or of states, in the wide numbers.
fn widened<T: DecimalType>(values: &ArrayRef) -> Result<PrimitiveArray<T>>
where
    T::Native: From<i64>,
{
    match values.data_type() {
        DataType::Int32 => Ok(values
            .as_primitive::<Int32Type>()
            .unary(|value| T::Native::from(i64::from(value)))),
        DataType::Int64 => Ok(values.as_primitive::<Int64Type>().unary(T::Native::from)),
        _ => values.as_primitive_opt::<T>().cloned().ok_or_else(|| {
            DataFusionError::Internal(format!(
                "sum was planned for another type than {}",
                values.data_type()
            ))
        }),
    }
}

/// Sums as the result's type, or the error that one of them does not fit.
fn finished<T: DecimalType>(sums: PrimitiveArray<T>, result: &DataType) -> Result<ArrayRef> {
    let (precision, scale) = match result {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            (*precision, *scale)
        }
        _ => (T::MAX_PRECISION, 0),
    };
    for sum in sums.iter().flatten() {
        T::validate_decimal_precision(sum, precision, scale).map_err(|_| overflow())?;
    }
    let sums = sums.with_precision_and_scale(precision, scale)?;
    match result {
        DataType::Int64 => {
            let strict = datafusion::arrow::compute::CastOptions {
                safe: false,
                ..Default::default()
            };
            datafusion::arrow::compute::cast_with_options(&sums, result, &strict).map_err(|_| overflow())
        }
        _ => Ok(cast(&sums, result)?),
    }
}

fn overflow() -> DataFusionError {
    ArrowError::ArithmeticOverflow("a sum is out of range of its type".into()).into()
}

/// The sum of one group, or of one window frame.
struct One<T: DecimalType> {
    sum: T::Native,
    count: u64,
    /// Values seen, for `distinct`.
    distinct: Option<std::collections::HashSet<T::Native>>,
    result: DataType,
}

impl<T: DecimalType> One<T>
where
    T::Native: From<i64> + std::hash::Hash + Eq,
{
    fn boxed(result: &DataType, distinct: bool) -> Box<dyn Accumulator> {
        Box::new(One::<T> {
            sum: T::Native::ZERO,
            count: 0,
            distinct: distinct.then(Default::default),
            result: result.clone(),
        })
    }

    fn take(&mut self, values: &PrimitiveArray<T>) -> Result<()> {
        for value in values.iter().flatten() {
            if self.distinct.as_mut().is_none_or(|seen| seen.insert(value)) {
                self.sum = self.sum.add_checked(value)?;
                self.count += 1;
            }
        }
        Ok(())
    }

    fn kept(&self, values: Vec<Option<T::Native>>) -> PrimitiveArray<T> {
        let kept = kept_as(&self.result).unwrap_or(T::DEFAULT_TYPE);
        PrimitiveArray::<T>::from_iter(values).with_data_type(kept)
    }
}

impl<T: DecimalType> fmt::Debug for One<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExactSum({})", self.result)
    }
}

impl<T: DecimalType> Accumulator for One<T>
where
    T::Native: From<i64> + std::hash::Hash + Eq,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.take(&widened::<T>(&values[0])?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        match states[0].as_list_opt::<i32>() {
            None => self.update_batch(states),
            Some(lists) => {
                for list in lists.iter().flatten() {
                    self.take(&widened::<T>(&list)?)?;
                }
                Ok(())
            }
        }
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let Some(seen) = &self.distinct else {
            let sum = self.kept(vec![(self.count > 0).then_some(self.sum)]);
            return Ok(vec![ScalarValue::try_from_array(&sum, 0)?]);
        };
        let values = self.kept(seen.iter().copied().map(Some).collect());
        let data_type = values.data_type().clone();
        let values = (0..values.len()).map(|i| ScalarValue::try_from_array(&values, i));
        let values = values.collect::<Result<Vec<_>>>()?;
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(
            &values, &data_type,
        ))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.kept(vec![(self.count > 0).then_some(self.sum)]);
        ScalarValue::try_from_array(&finished(sum, &self.result)?, 0)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in widened::<T>(&values[0])?.iter().flatten() {
            self.sum = self.sum.sub_checked(value)?;
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.distinct.is_none()
    }

    fn size(&self) -> usize {
        let seen = self.distinct.as_ref().map_or(0, |seen| seen.capacity());
        size_of_val(self) + seen * (size_of::<T::Native>() + 8)
    }
}

/// The sums of many groups.
struct Groups<T: DecimalType> {
    sums: Vec<T::Native>,
    /// Whether a group has a value at all.
    seen: Vec<bool>,
    result: DataType,
}

impl<T: DecimalType> Groups<T> {
    fn new(result: &DataType) -> Self {
        Groups {
            sums: Vec::new(),
            seen: Vec::new(),
            result: result.clone(),
        }
    }

    fn emitted(&mut self, emit_to: EmitTo) -> PrimitiveArray<T> {
        let sums = emit_to.take_needed(&mut self.sums);
        let seen = emit_to.take_needed(&mut self.seen);
        let kept = kept_as(&self.result).unwrap_or(T::DEFAULT_TYPE);
        PrimitiveArray::<T>::new(sums.into(), Some(NullBuffer::from(seen))).with_data_type(kept)
    }
}

impl<T: DecimalType> GroupsAccumulator for Groups<T>
where
    T::Native: From<i64>,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.sums.resize(groups, T::Native::ZERO);
        self.seen.resize(groups, false);
        let values = widened::<T>(&values[0])?;
        for (row, group) in group_indices.iter().enumerate() {
            if values.is_null(row) || !counts(filter, row) {
                continue;
            }
            self.sums[*group] = self.sums[*group].add_checked(values.value(row))?;
            self.seen[*group] = true;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        self.update_batch(states, group_indices, None, groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.emitted(emit_to);
        finished(sums, &self.result)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(self.emitted(emit_to))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = widened::<T>(&values[0])?;
        let kept = kept_as(&self.result).unwrap_or(T::DEFAULT_TYPE);
        let values = match filter {
            None => values,
            Some(filter) => (0..values.len())
                .map(|row| (values.is_valid(row) && counts(Some(filter), row)).then(|| values.value(row)))
                .collect(),
        };
        Ok(vec![Arc::new(values.with_data_type(kept))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}

fn counts(filter: Option<&BooleanArray>, row: usize) -> bool {
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}
