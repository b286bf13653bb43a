//! `quota`

use std::process::ExitCode;

use anyhow::{Context, bail};
use juicefs_base::units::parse_bytes;
use juicefs_volume::{QuotaLimits, QuotaLine, QuotaOf};

use super::{meta_url, say};
use crate::args::{QuotaAction, QuotaArgs};
use crate::environment::Environment;
use crate::progress::Bars;
use crate::table::{bytes_in_short, table};

pub(super) async fn run(args: QuotaArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let of = quota_of(&args)?;
    let wanted = || {
        of.as_ref()
            .context("say whose quota: a directory with --path, a user with --uid or a group with --gid")
    };
    let limits = QuotaLimits {
        space: args
            .capacity
            .as_deref()
            .map(|text| limit(parse_bytes(text, 1 << 30)?))
            .transpose()
            .context("--capacity")?,
        inodes: args.inodes.map(limit).transpose().context("--inodes")?,
    };
    if args.action != QuotaAction::List && args.action != QuotaAction::Check {
        wanted()?;
    }
    let url = meta_url(&args.meta_url, environment)?;
    let bars = Bars::on_terminal();
    let lines = match args.action {
        QuotaAction::Set => {
            vec![juicefs_volume::set_quota(&url, wanted()?, limits, args.create, bars.as_ref()).await?]
        }
        QuotaAction::Get => juicefs_volume::get_quota(&url, wanted()?).await?.into_iter().collect(),
        QuotaAction::Delete => {
            juicefs_volume::delete_quota(&url, wanted()?).await?;
            Vec::new()
        }
        QuotaAction::List => juicefs_volume::list_quotas(&url, of.as_ref()).await?,
        QuotaAction::Check => {
            juicefs_volume::check_quota(&url, of.as_ref(), args.repair, bars.as_ref()).await?
        }
    };
    drop(bars);
    if !lines.is_empty() {
        let first = match (&of, args.action) {
            (Some(QuotaOf::Directory(_)), _) => "Path",
            (Some(QuotaOf::User(_)), _) | (None, QuotaAction::Check) => "User ID",
            (Some(QuotaOf::Group(_)), _) => "Group ID",
            (None, _) => "Path/ID",
        };
        say(quota_table(first, &lines).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn quota_of(args: &QuotaArgs) -> anyhow::Result<Option<QuotaOf>> {
    let id = |name: &str, number: Option<u64>| {
        let checked = number.map(|number| match u32::try_from(number) {
            Ok(0) => bail!("--{name} 0 is not allowed"),
            Ok(number) => Ok(number),
            Err(_) => bail!("--{name} {number} is too large: numbers end at {}", u32::MAX),
        });
        checked.transpose()
    };
    Ok(match (id("uid", args.uid)?, id("gid", args.gid)?, &args.path) {
        (Some(_), Some(_), _) => bail!("--uid and --gid exclude each other"),
        (Some(_), _, Some(_)) => bail!("--uid and --path exclude each other"),
        (_, Some(_), Some(_)) => bail!("--gid and --path exclude each other"),
        (Some(uid), ..) => Some(QuotaOf::User(uid)),
        (_, Some(gid), _) => Some(QuotaOf::Group(gid)),
        (.., Some(path)) => Some(QuotaOf::Directory(path.clone())),
        (None, None, None) => None,
    })
}

fn limit(number: u64) -> anyhow::Result<i64> {
    i64::try_from(number).context("is too large")
}

/// As the peer prints it; what has no limit is `unchanged`.
fn quota_table(first: &str, lines: &[QuotaLine]) -> String {
    let head = [first, "Size", "Used", "Use%", "Inodes", "IUsed", "IUse%"];
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let space = u64::try_from(line.used_space).unwrap_or(0);
            let inodes = u64::try_from(line.used_inodes).unwrap_or(0);
            let unlimited = || ("unchanged".to_owned(), String::new());
            let share = |used: u64, max: u64| format!("{}%", u128::from(used) * 100 / u128::from(max));
            let limited = |max: i64| u64::try_from(max).ok().filter(|max| *max > 0);
            let (size, use_share) = limited(line.space_max)
                .map_or_else(unlimited, |max| (bytes_in_short(max), share(space, max)));
            let (count, inode_share) =
                limited(line.inodes_max).map_or_else(unlimited, |max| (with_commas(max), share(inodes, max)));
            vec![
                line.name.clone(),
                size,
                bytes_in_short(space),
                use_share,
                count,
                with_commas(inodes),
                inode_share,
            ]
        })
        .collect();
    table(&head, 1, &rows)
}

/// `1,234,567`
fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_peers() {
        let line = |name: &str, space_max, inodes_max, used_space, used_inodes| QuotaLine {
            name: name.to_owned(),
            space_max,
            inodes_max,
            used_space,
            used_inodes,
        };
        let lines = [line("/", 1 << 30, -1, 4096, 0), line("/x", -1, 3000, 0, 1500)];
        let expected = "\
+---------+-----------+---------+------+-----------+-------+-------+
| Path/ID |    Size   |   Used  | Use% |   Inodes  | IUsed | IUse% |
+---------+-----------+---------+------+-----------+-------+-------+
| /       |   1.0 GiB | 4.0 KiB |   0% | unchanged |     0 |       |
| /x      | unchanged |     0 B |      |     3,000 | 1,500 |   50% |
+---------+-----------+---------+------+-----------+-------+-------+
";
        assert_eq!(quota_table("Path/ID", &lines), expected);
        assert_eq!(with_commas(1_234_567), "1,234,567");
    }
}
