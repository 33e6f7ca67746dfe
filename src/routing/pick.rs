//! The choice among the instances of a deployment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::upstream::Instance;

/// The instance with the fewest requests in flight; equals take turns. `except` is passed over if there is another.
pub fn least_loaded<'a>(
    instances: &'a [Arc<Instance>],
    turn: &AtomicU32,
    except: Option<&Arc<Instance>>,
) -> Option<&'a Arc<Instance>> {
    if let [only] = instances {
        return Some(only);
    }
    let start = turn.fetch_add(1, Ordering::Relaxed) as usize % instances.len().max(1);
    let (late, early) = instances.split_at_checked(start)?;
    let skipped = |instance: &&Arc<Instance>| except.is_none_or(|except| !Arc::ptr_eq(except, instance));
    early.iter().chain(late).filter(skipped).min_by_key(|instance| instance.in_flight())
}
