//! A worker's thread by itself: panics of tasks, acknowledged messages, the end.

use std::sync::{Arc, atomic::AtomicU64};

use super::*;

fn setup(panics: &Arc<AtomicU64>) -> Setup {
    Setup {
        index: 0,
        seed: 1,
        stats: Store::with_workers(1),
        local_address: IpAddr::from([127, 0, 0, 1]),
        cpu: None,
        panics: panics.clone(),
        closing: Arc::default(),
        flush_interval: Duration::from_secs(10),
        tell: Arc::new(|_| ()),
        peers: Peers::default(),
    }
}

fn worker(panics: &Arc<AtomicU64>) -> Rc<Worker> {
    Rc::new(Worker::new(&setup(panics), Rc::new(Duty::new(0))))
}

#[test]
fn a_panic_is_counted_and_ends_its_task_alone() {
    let panics = Arc::new(AtomicU64::new(0));
    let runtime = Builder::new_current_thread().enable_time().build_local(LocalOptions::default()).unwrap();
    runtime.block_on(async {
        let worker = worker(&panics);
        let (one, two) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (a, b) = (one.clone(), two.clone());
        worker.spawn(async move {
            tokio::task::yield_now().await;
            assert!(a.get() > 0, "this panic belongs to the test");
            a.set(1);
        });
        worker.spawn(async move {
            for _ in 0..10 {
                tokio::task::yield_now().await;
                b.set(b.get() + 1);
            }
        });
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert_eq!((panics.load(Relaxed), one.get(), two.get()), (1, 0, 10));
        // What the task held is gone with it.
        assert_eq!((Rc::strong_count(&one), Rc::strong_count(&two)), (1, 1));
    });
}

#[test]
fn a_message_is_acknowledged_and_stop_ends_the_thread() {
    let panics = Arc::default();
    let mut handle = start(setup(&panics)).unwrap();
    let (ack, done) = oneshot::channel();
    assert!(handle.mailbox.send(Message::Publish(Arc::default(), Some(ack))).is_ok());
    // The sender is dropped when the message has taken effect.
    assert!(done.blocking_recv().is_err());
    let (done, drained) = oneshot::channel();
    assert!(handle.mailbox.send(Message::Drain { grace: Duration::from_secs(5), done }).is_ok());
    assert_eq!(drained.blocking_recv(), Ok(0));
    assert!(handle.mailbox.send(Message::Stop).is_ok());
    handle.join();
    assert!(handle.mailbox.is_closed());
}

#[test]
fn a_worker_that_fails_goes_on_with_its_next_message() {
    let panics = Arc::default();
    let (told, hears) = std::sync::mpsc::channel();
    let setup = Setup { tell: Arc::new(move |message| told.send(message).unwrap()), ..setup(&panics) };
    let mut handle = start(setup).unwrap();
    let (ran, runs) = std::sync::mpsc::channel();
    let mailbox = handle.mailbox.clone();
    handle
        .mailbox
        .send(Message::Run(Box::new(move |worker| {
            // Both wait in the mailbox when the panic comes.
            let first = worker.connection_id();
            mailbox.send(Message::Run(Box::new(move |worker| ran.send((first, worker.connection_id())).unwrap()))).unwrap();
            panic!("this panic belongs to the test");
        })))
        .ok()
        .unwrap();
    let wait = Duration::from_secs(5);
    assert_eq!(runs.recv_timeout(wait), Ok((0, 4096)));
    let message = hears.recv_timeout(wait).unwrap();
    assert!(message.starts_with("worker 0 failed") && message.ends_with("this panic belongs to the test"), "{message}");
    assert_eq!(panics.load(Relaxed), 1);
    assert!(handle.mailbox.send(Message::Stop).is_ok());
    handle.join();
}

#[test]
fn a_worker_that_is_told_to_stop_does_not_start_again() {
    let mut handle = start(setup(&Arc::default())).unwrap();
    let mailbox = handle.mailbox.clone();
    let run = move |_: &Rc<Worker>| {
        mailbox.send(Message::Stop).ok().unwrap();
        panic!("this panic belongs to the test");
    };
    assert!(handle.mailbox.send(Message::Run(Box::new(run))).is_ok());
    handle.join();
    assert!(handle.mailbox.is_closed());
}

#[test]
fn numbers_of_connections_differ_between_workers() {
    let worker = worker(&Arc::default());
    assert_eq!([worker.connection_id(), worker.connection_id()], [0, 4096]);
}

#[test]
fn requests_under_way_are_those_of_all_managers_but_the_admin_interface() {
    let store = Store::with_workers(1);
    let values = [
        ("http.a.downstream_rq_active", 2),
        ("http.b.downstream_rq_active", 3),
        ("http.admin.downstream_rq_active", 5),
        ("cluster.a.upstream_rq_active", 7),
    ];
    // A stat is there as long as somebody holds it.
    let _held: Vec<_> = values
        .iter()
        .map(|(name, value)| {
            let gauge = store.gauge(name);
            gauge.set(*value);
            gauge
        })
        .collect();
    assert_eq!(requests_under_way(&store), 5);
}
