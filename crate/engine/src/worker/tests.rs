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
    }
}

fn worker(panics: &Arc<AtomicU64>) -> Rc<Worker> {
    let setup = setup(panics);
    Rc::new(Worker {
        index: 0,
        random: Random::seeded(1),
        pools: Pools::default(),
        local_address: setup.local_address,
        snapshot: RefCell::default(),
        cursors: RefCell::default(),
        date: RefCell::default(),
        panics: setup.panics,
        sockets: RefCell::default(),
        old: RefCell::default(),
        next_connection: Cell::new(0),
        closing: setup.closing,
        stats: setup.stats,
    })
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
