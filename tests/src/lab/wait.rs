//! Waiting for a condition instead of for time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Calls `probe` until it succeeds. Its error is what was seen instead, and the last one is in
/// the error returned after `timeout`; `what` says what was waited for, as a sentence.
///
/// # Errors
/// When `timeout` passes first.
pub fn wait_until<T>(
    timeout: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if start.elapsed() >= timeout => bail!(
                "waited {:.1} s in vain until {what}; last seen: {seen:#}",
                start.elapsed().as_secs_f64()
            ),
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}

/// Waits until `text` no longer holds `needle`.
///
/// # Errors
/// When `timeout` passes first, with the text that still held it.
pub fn wait_gone(
    timeout: Duration,
    needle: &str,
    mut text: impl FnMut() -> Result<String>,
) -> Result<()> {
    wait_until(timeout, &format!("{needle:?} is gone"), || {
        let text = text()?;
        if text.contains(needle) {
            bail!("{text}");
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_in_vain_tells_what_was_seen_last() {
        let mut count = 0;
        let error = wait_until(Duration::from_millis(60), "pigs fly", || -> Result<()> {
            count += 1;
            bail!("pig {count} walks")
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("until pigs fly"), "{error}");
        assert!(error.ends_with(&format!("pig {count} walks")), "{error}");
    }

    #[test]
    fn the_value_is_returned_as_soon_as_the_condition_holds() {
        let mut count = 0;
        let value = wait_until(Duration::from_secs(5), "three", || {
            count += 1;
            if count < 3 {
                bail!("{count}");
            }
            Ok(count)
        });
        assert_eq!(value.unwrap(), 3);
    }
}
