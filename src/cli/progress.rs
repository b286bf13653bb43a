//! Progress of long work: bars on a terminal, nothing into a pipe.

use indicatif::{ProgressBar, ProgressStyle};
use juicefs_base::sync::Mutex;
use juicefs_volume::Progress;
use std::io::IsTerminal;

/// One bar or counter a stage.
#[derive(Default)]
pub(crate) struct Bars {
    current: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// Bars when standard error is a terminal, else silence.
    pub(crate) fn on_terminal() -> Box<dyn Progress> {
        if std::io::stderr().is_terminal() {
            Box::new(Self::default())
        } else {
            Box::new(juicefs_volume::Silent)
        }
    }
}

impl Progress for Bars {
    fn begin(&self, stage: &str, total: Option<u64>) {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{msg:16} {bar:30} {pos}/{len} {per_sec} {eta}"),
            None => (ProgressBar::new_spinner(), "{msg:16} {spinner} {pos} {per_sec}"),
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar.with_style(style).with_message(stage.to_owned());
        if let Some(done) = self.current.lock().replace(bar) {
            done.finish();
        }
    }

    fn advance(&self, count: u64) {
        if let Some(bar) = &*self.current.lock() {
            bar.inc(count);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some(bar) = self.current.lock().take() {
            bar.finish();
        }
    }
}
