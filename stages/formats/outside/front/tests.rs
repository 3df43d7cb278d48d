use super::*;
use crate::formats::outside::clock::TestClock;

/// Ten requests a second, two at once, a first wait of a second.
fn front(clock: &Arc<TestClock>) -> Arc<Front> {
    let budget = FrontBudget { gap: Duration::from_millis(100), connections: 2, first_wait: Duration::from_secs(1) };
    Arc::new(Front::new("https://front.example", budget, Arc::clone(clock) as _, Arc::default(), 7))
}

fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::default())
}

fn seconds(clock: &TestClock) -> f64 {
    clock.now().as_secs_f64()
}

/// Asks until the front is down, failing each time.
fn fail_until_down(front: &Arc<Front>) -> Unavailable {
    loop {
        match front.admit() {
            Ok(mut permit) => permit.failed("503 for x", None),
            Err(OutsideError::Unavailable(unavailable)) => return unavailable,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn requests_are_a_gap_apart() {
    let clock = clock();
    let front = front(&clock);
    for _ in 0..50 {
        front.admit().unwrap().answered();
    }
    assert!((4.9..5.0).contains(&seconds(&clock)), "{}", seconds(&clock));
    assert_eq!(front.usage().usage().requests, 50);
}

#[test]
fn at_most_as_many_permits_are_out_as_there_are_connections() {
    let front = front(&clock());
    let (one, two) = (front.admit().unwrap(), front.admit().unwrap());
    std::thread::scope(|scope| {
        let third = scope.spawn(|| front.admit().map(drop));
        std::thread::sleep(Duration::from_millis(60));
        assert!(!third.is_finished());
        drop(one);
        third.join().unwrap().unwrap();
    });
    drop(two);
}

#[test]
fn a_failure_halves_the_rate_and_answers_bring_it_back_step_by_step() {
    let clock = clock();
    let front = front(&clock);
    front.admit().unwrap().failed("503 for x", None);
    assert!((front.lock().rate - 5.0).abs() < 1e-9);
    for _ in 0..10 {
        front.admit().unwrap().answered();
    }
    assert!((front.lock().rate - 7.0).abs() < 1e-9);
    for _ in 0..100 {
        front.admit().unwrap().answered();
    }
    assert!((front.lock().rate - 10.0).abs() < 1e-9, "never above the budget");
}

#[test]
fn waits_double_from_failure_to_failure_with_jitter() {
    let clock = clock();
    let front = front(&clock);
    let mut waits = Vec::new();
    for _ in 0..4 {
        front.admit().unwrap().failed("503 for x", None);
        let before = seconds(&clock);
        drop(front.admit().unwrap());
        waits.push(seconds(&clock) - before);
    }
    for (wait, most) in waits.iter().zip([1.0, 2.0, 4.0, 8.0]) {
        assert!((most / 2.0..=most + 1e-9).contains(wait), "{waits:?}");
    }
    // Not all at the same point of their span.
    let first = waits[0];
    assert!(waits.iter().zip([1.0, 2.0, 4.0, 8.0]).any(|(wait, most)| (wait / most - first).abs() > 0.01), "{waits:?}");
}

#[test]
fn requests_that_were_under_way_together_fail_once() {
    let front = front(&clock());
    let (mut one, mut two) = (front.admit().unwrap(), front.admit().unwrap());
    one.failed("503 for x", None);
    two.failed("503 for y", None);
    assert_eq!(front.lock().failures, 1);
}

#[test]
fn after_a_failure_one_request_goes_first() {
    let front = front(&clock());
    front.admit().unwrap().failed("503 for x", None);
    let mut probe = front.admit().unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| front.admit().map(drop));
        std::thread::sleep(Duration::from_millis(60));
        assert!(!second.is_finished(), "a connection is free, but nobody knows yet whether the front serves");
        probe.answered();
        second.join().unwrap().unwrap();
    });
}

#[test]
fn an_hour_of_failures_costs_few_requests_and_loses_nothing() {
    let clock = clock();
    let front = front(&clock);
    let first = fail_until_down(&front);
    assert_eq!(front.usage().usage().requests, u64::from(TRIES));
    assert_eq!(first.cause, "503 for x");
    // A task comes back when it was told to, again and again.
    let mut unavailable = first.clone();
    while seconds(&clock) < 3600.0 {
        assert_eq!(unavailable.since_ms, first.since_ms);
        let wait_ms = unavailable.until_ms.unwrap() - clock.unix_ms();
        clock.sleep(Duration::from_millis(wait_ms + 1));
        unavailable = fail_until_down(&front);
    }
    let requests = front.usage().usage().requests;
    assert!((10..30).contains(&requests), "{requests}");
    assert!(unavailable.until_ms.unwrap() - clock.unix_ms() <= 600_000, "never more than ten minutes");
    clock.sleep(LONGEST_WAIT);
    front.admit().unwrap().answered();
    assert!(front.down().is_none() && front.report().unavailable.is_none());
}

#[test]
fn answers_in_between_mean_that_a_front_is_not_down() {
    let front = front(&clock());
    for _ in 0..2 * TRIES {
        front.admit().unwrap().failed("500 for x", None);
        front.admit().unwrap().answered();
    }
    assert!(front.down().is_none());
}

#[test]
fn nobody_waits_here_for_a_front_that_is_down() {
    let clock = clock();
    let front = front(&clock);
    fail_until_down(&front);
    let before = seconds(&clock);
    assert!(matches!(front.admit(), Err(OutsideError::Unavailable(_))));
    assert!((seconds(&clock) - before).abs() < 1e-9);
}

#[test]
fn retry_after_is_obeyed_and_a_long_one_makes_the_task_wait_elsewhere() {
    let clock = clock();
    let front = front(&clock);
    front.admit().unwrap().failed("503 for x", Some(Duration::from_secs(20)));
    drop(front.admit().unwrap());
    assert!((20.0..20.2).contains(&seconds(&clock)), "{}", seconds(&clock));
    front.admit().unwrap().failed("503 for x", Some(Duration::from_secs(3600)));
    let Err(OutsideError::Unavailable(unavailable)) = front.admit() else { panic!("an hour is too long to wait here") };
    assert_eq!(unavailable.until_ms, Some(clock.unix_ms() + 3_600_000));
}

#[test]
fn forbidden_stops_the_front_for_good() {
    let clock = clock();
    let front = front(&clock);
    front.admit().unwrap().forbidden("403 for x: slow down");
    clock.sleep(Duration::from_secs(24 * 3600));
    let Err(OutsideError::Unavailable(unavailable)) = front.admit() else { panic!("the front is stopped") };
    assert_eq!(unavailable.until_ms, None);
    assert_eq!(
        unavailable.to_string(),
        "https://front.example is not asked again in this run and should be left alone for hours: 403 for x: slow down"
    );
    assert_eq!(front.usage().usage().requests, 1);
}

#[test]
fn a_process_that_is_being_stopped_waits_for_nothing() {
    let front = front(&clock());
    front.stopping.store(true, Ordering::Relaxed);
    assert!(matches!(front.admit(), Err(OutsideError::Stopping)));
}

#[test]
fn roots_of_one_server_share_its_front() {
    let budget = FrontBudget { connections: 3, ..FrontBudget::default() };
    let one = super::front("http://shared.example", Some(&budget));
    let two = super::front("http://shared.example", None);
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(two.lock().budget.connections, 3);
    assert!(!Arc::ptr_eq(&one, &super::front("http://shared.example:81", None)));
    assert!(fronts().iter().any(|report| report.front == "http://shared.example"));
}
