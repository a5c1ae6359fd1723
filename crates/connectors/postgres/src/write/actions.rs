//! What `begin` and `commit` will do, as `prepare` prints it.
//!
//! The same rendering functions make the statements that are run, so what is printed is what is done. Nothing here
//! talks to a server.

use synqx_model::spec::WriteMode;
use synqx_sdk::{Action, PublishPath, Target};

use super::plan::WritePlan;
use super::{history, mirror, publish, slices, sql};
use crate::names::{TableName, quote, staging_prefix};

/// What `begin` and `commit` will do, in order.
pub(super) fn later_actions(plan: &WritePlan, target: &Target) -> Vec<Action> {
    let staging = plan.table.sibling(format!("{}…", staging_prefix(&target.stream)));
    let mut actions = Vec::new();
    let mut push = |when, text: String| actions.push(Action { text, when });
    match plan.path {
        PublishPath::Direct => push("begin", sql::copy_in(&plan.table, plan)),
        path => {
            push(
                "begin",
                sql::create_staging(&staging, plan, path == PublishPath::Fresh),
            );
            push("begin", sql::copy_in(&staging, plan));
        }
    }
    push("commit", sql::update_record(&plan.table));
    match (plan.path, target.mode, &plan.existing) {
        (PublishPath::Fresh, _, Some(_)) => {
            push(
                "commit",
                format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", plan.table.sql()),
            );
            if target.replace.keep_previous {
                push(
                    "commit",
                    format!(
                        "ALTER TABLE {} RENAME TO {}",
                        plan.table.sql(),
                        quote(&plan.previous().name)
                    ),
                );
            } else {
                push("commit", format!("DROP TABLE {}", plan.table.sql()));
            }
            push(
                "commit",
                format!(
                    "ALTER TABLE {} RENAME TO {} (grants, owner, comments and index names are copied)",
                    staging.sql(),
                    quote(&plan.table.name)
                ),
            );
        }
        (PublishPath::Fresh, _, None) => {
            push(
                "commit",
                format!(
                    "ALTER TABLE {} RENAME TO {}",
                    staging.sql(),
                    quote(&plan.table.name)
                ),
            );
            sql::dress_target(plan)
                .into_iter()
                .for_each(|text| push("commit", text));
        }
        (PublishPath::Staged, ..) => {
            staged_statements(plan, target, &staging)
                .into_iter()
                .for_each(|text| push("commit", text));
        }
        _ => {}
    }
    sql::number_target(plan)
        .into_iter()
        .for_each(|text| push("commit", text));
    actions
}

/// What publishes staged rows.
fn staged_statements(plan: &WritePlan, target: &Target, staging: &TableName) -> Vec<String> {
    let mut statements = Vec::new();
    if plan.existing.is_none() {
        statements.extend(sql::create_target(plan));
    } else if target.mode == WriteMode::Replace {
        statements.extend(publish::empty_target(plan, target));
    }
    match target.mode {
        WriteMode::Append | WriteMode::Replace => {
            statements.push(sql::insert_staged(plan, staging));
            if target.mode == WriteMode::Replace && plan.deferrable {
                statements.push("SET CONSTRAINTS ALL IMMEDIATE".to_owned());
            }
        }
        WriteMode::Upsert => merge_statements(plan, target, staging, &mut statements),
        WriteMode::DeleteInsert => {
            statements.push(publish::lock_writers(plan));
            statements.extend(slices::deletions(plan, target, staging));
            statements.push(sql::insert_staged(plan, staging));
        }
        WriteMode::Mirror => {
            statements.push(publish::lock_writers(plan));
            statements.extend(mirror::deletion(plan, target, staging));
            merge_statements(plan, target, staging, &mut statements);
        }
        WriteMode::Scd2 => {
            statements.push(publish::lock_writers(plan));
            statements.extend(history::statements(plan, target, staging));
        }
    }
    statements.push(format!("DROP TABLE {}", staging.sql()));
    statements
}

fn merge_statements(plan: &WritePlan, target: &Target, staging: &TableName, statements: &mut Vec<String>) {
    if plan.indexed {
        if plan.guarded {
            statements.push(publish::lock_writers(plan));
        }
        statements.push(sql::upsert_indexed(plan, staging, target));
        return;
    }
    statements.push(publish::lock_writers(plan));
    let (update, insert) = sql::update_then_insert(plan, staging, target);
    statements.extend(update);
    statements.push(insert);
}
