//! Instances that fail more often than the others of their deployment. Pure.

/// Requests of an instance from which on its failures say something.
const ENOUGH: u32 = 20;
/// How many standard deviations it has to be worse by.
const SIGNIFICANT: f64 = 3.0;
/// And by how much of its requests at least.
const WORSE: f64 = 0.2;

/// Which instances, given by requests and failures, fail significantly more often than all the others together
/// (two-proportion z-test). Failures that all have alike are their requests' or the model's, and eject nobody.
pub(super) fn outliers(counts: &[(u32, u32)]) -> Vec<usize> {
    let sum = counts
        .iter()
        .fold((0_f64, 0_f64), |sum, (all, bad)| (sum.0 + f64::from(*all), sum.1 + f64::from(*bad)));
    let worse = |&(all, bad): &(u32, u32)| {
        let (all, bad) = (f64::from(all), f64::from(bad));
        let (others, others_bad) = (sum.0 - all, sum.1 - bad);
        if all < f64::from(ENOUGH) || others < f64::from(ENOUGH) {
            return false;
        }
        let (rate, others_rate, pooled) = (bad / all, others_bad / others, sum.1 / sum.0);
        let deviation = (pooled * (1.0 - pooled) * (1.0 / all + 1.0 / others)).sqrt();
        rate - others_rate > WORSE && rate - others_rate > SIGNIFICANT * deviation
    };
    counts.iter().enumerate().filter(|(_, count)| worse(count)).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_much_worse_than_the_others_stands_out() {
        assert_eq!(outliers(&[(100, 60), (100, 1)]), [0]);
        assert_eq!(outliers(&[(100, 1), (100, 2), (100, 50)]), [2]);
        assert!(outliers(&[(100, 50), (100, 45)]).is_empty(), "all alike: the requests are to blame");
        assert!(outliers(&[(100, 15), (100, 0)]).is_empty(), "not by much");
        assert!(outliers(&[(10, 10), (100, 0)]).is_empty(), "too few to say");
        assert!(outliers(&[(100, 100)]).is_empty(), "nothing to compare with");
        assert!(outliers(&[(100, 0), (100, 0)]).is_empty());
        assert!(outliers(&[]).is_empty());
    }
}
