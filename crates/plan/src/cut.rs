//! Where the plan graph is cut: which nodes become fragments of their own, kept in an exchange.
//!
//! A node that is read several times must be kept. So must one whose checks must judge every row (`fail`,
//! `quarantine`, a threshold, the whole table) when something above it may stop early (a limit, a join, a subquery): a fragment of its own is read to its end by
//! construction, so no row passes unjudged. Everything else stays one plan, which lets filters sink into sources.

use std::collections::BTreeSet;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use synqx_model::dag::Graph;
use synqx_model::spec::{CastError, CastTo, FillNulls, Missing, Node, Operator, PipelineSpec, Unknown};

use crate::check::Check;

/// What decides about cuts.
#[derive(Clone, Copy)]
pub(crate) struct Cuts<'a> {
    pub(crate) spec: &'a PipelineSpec,
    pub(crate) graph: &'a Graph,
    /// Nodes that must be kept for other reasons.
    pub(crate) spool: &'a BTreeSet<String>,
}

impl Cuts<'_> {
    /// Whether a node's rows are kept in an exchange.
    pub(crate) fn is_kept(self, id: &str) -> bool {
        self.is_shared(id) || (self.spec.node(id).is_some_and(judges) && !self.is_drained(id))
    }

    /// Read by several nodes, several times by one, or by an operator that looks at its input twice.
    fn is_shared(self, id: &str) -> bool {
        let twice = |consumer: &String| {
            matches!(
                self.spec.node(consumer).map(|n| &n.operator),
                Some(Operator::FillNulls(FillNulls {
                    strategy: Some(_),
                    ..
                }))
            )
        };
        let consumers = self.graph.consumers.get(id);
        if self.spool.contains(id) {
            return true;
        }
        self.graph.uses.get(id).is_some_and(|uses| *uses > 1)
            || consumers.is_some_and(|c| c.len() > 1 || c.iter().any(twice))
    }

    /// Whether everything above a node reads its input to the end, up to a load or to something that is kept.
    fn is_drained(self, id: &str) -> bool {
        let mut consumers = self.graph.consumers.get(id).into_iter().flatten();
        consumers.all(|consumer| {
            let Some(node) = self.spec.node(consumer) else {
                return false;
            };
            match &node.operator {
                Operator::Load(_) => true,
                Operator::Join(_) | Operator::Lookup(_) | Operator::Sql(_) | Operator::Extract(_) => false,
                _ if has_subquery(node) => false,
                Operator::Switch(_) => true,
                // One that judges is drained itself or kept.
                _ => self.is_shared(consumer) || judges(node) || self.is_drained(consumer),
            }
        })
    }
}

/// Whether a node has rules that fail the run or set rows aside.
fn judges(node: &Node) -> bool {
    match &node.operator {
        Operator::Validate(validate) => validate
            .checks
            .iter()
            .any(|check| check.must_judge_all(validate.on_fail)),
        Operator::Cast(cast) => match cast.on_error {
            CastError::Quarantine => true,
            CastError::Fail => cast
                .columns
                .iter()
                .any(|(_, to)| matches!(to, CastTo::Formatted(_))),
            CastError::Null => false,
        },
        Operator::Pivot(pivot) => pivot.unknown != Unknown::Ignore,
        Operator::Lookup(lookup) => matches!(lookup.on_missing, Missing::Fail | Missing::Quarantine),
        Operator::Flatten(flatten) => {
            let json = flatten.json.as_ref();
            json.is_some_and(|json| json.on_error == CastError::Quarantine)
        }
        _ => false,
    }
}

/// Whether any text of a node may hold a query, which may stop early. A name with the word in it costs a spill file.
fn has_subquery(node: &Node) -> bool {
    serde_json::to_string(&node.operator).map_or(true, |text| text.to_lowercase().contains("select"))
}

/// The checks of a plan, by node.
pub(crate) fn checks(plan: &LogicalPlan) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Extension(extension) = node
            && let Some(check) = extension.node.as_any().downcast_ref::<Check>()
        {
            found.insert(check.node.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Whether a node further down has conditions that may sink below this one.
pub(crate) fn absorbs(id: &str, spec: &PipelineSpec, graph: &Graph) -> bool {
    let mut queue: Vec<&String> = graph.consumers.get(id).into_iter().flatten().collect();
    while let Some(next) = queue.pop() {
        match spec.node(next).map(|node| &node.operator) {
            Some(
                Operator::Filter(_)
                | Operator::Sql(_)
                | Operator::Join(_)
                | Operator::Lookup(_)
                | Operator::Deduplicate(_),
            ) => {
                return true;
            }
            _ => queue.extend(graph.consumers.get(next).into_iter().flatten()),
        }
    }
    false
}
