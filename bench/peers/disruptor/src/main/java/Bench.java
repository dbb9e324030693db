import com.lmax.disruptor.BatchEventProcessor;
import com.lmax.disruptor.BatchEventProcessorBuilder;
import com.lmax.disruptor.BlockingWaitStrategy;
import com.lmax.disruptor.EventHandler;
import com.lmax.disruptor.RingBuffer;
import com.lmax.disruptor.SequenceBarrier;
import com.lmax.disruptor.WaitStrategy;
import com.lmax.disruptor.YieldingWaitStrategy;
import com.lmax.disruptor.dsl.ProducerType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;

/** LMAX Disruptor: a BatchEventProcessor, and so a thread, per subscriber. Usage: Bench [S1] [S4] [S7] */
public final class Bench {
  /** Ring size = the window of the other peers: the ring itself holds the publisher back. */
  static final int RING = 512;
  static final int REPS = (int) env("REPS", 5);
  static final double SECS = env("SECS", 1.0);
  /** Only this many subscribers or publishers; 0: every size. */
  static final int SUBS = (int) env("SUBS", 0);
  static final double LATSECS = env("LATSECS", 2.0);

  static double env(String k, double d) {
    String v = System.getenv(k);
    return v == null ? d : Double.parseDouble(v);
  }

  static int[] sizes(int... all) {
    return Arrays.stream(all).filter(n -> SUBS == 0 || n == SUBS).toArray();
  }

  static final class Slot {
    long seq;
    long ts;
    long src;
    final byte[] body = new byte[40];
  }

  static final class Handler implements EventHandler<Slot> {
    long n;
    long sum;
    long[] lat;

    @Override
    public void onEvent(Slot s, long sequence, boolean endOfBatch) {
      if (lat != null) {
        lat[(int) n] = System.nanoTime() - s.ts;
      }
      sum += s.seq;
      n++;
    }
  }

  static final class Bus implements AutoCloseable {
    final RingBuffer<Slot> ring;
    final List<BatchEventProcessor<Slot>> procs = new ArrayList<>();
    final List<Thread> threads = new ArrayList<>();
    final List<Handler> handlers = new ArrayList<>();

    Bus(ProducerType type, WaitStrategy wait, int subs, int samples) {
      ring = RingBuffer.create(type, Slot::new, RING, wait);
      SequenceBarrier barrier = ring.newBarrier();
      for (int i = 0; i < subs; i++) {
        Handler h = new Handler();
        h.lat = samples > 0 ? new long[samples] : null;
        BatchEventProcessor<Slot> p = new BatchEventProcessorBuilder().build(ring, barrier, h);
        ring.addGatingSequences(p.getSequence());
        handlers.add(h);
        procs.add(p);
      }
      for (BatchEventProcessor<Slot> p : procs) {
        Thread t = new Thread(p);
        t.setDaemon(true);
        t.start();
        threads.add(t);
      }
    }

    void publish(long seq, long src, boolean stamp) {
      long at = ring.next();
      Slot s = ring.get(at);
      s.seq = seq;
      s.src = src;
      Arrays.fill(s.body, (byte) 7);
      s.ts = stamp ? System.nanoTime() : 0;
      ring.publish(at);
    }

    void drain() {
      long last = ring.getCursor();
      for (BatchEventProcessor<Slot> p : procs) {
        while (p.getSequence().get() < last) {
          Thread.yield();
        }
      }
    }

    @Override
    public void close() {
      for (BatchEventProcessor<Slot> p : procs) {
        p.halt();
      }
      for (Thread t : threads) {
        try {
          t.join();
        } catch (InterruptedException e) {
          throw new RuntimeException(e);
        }
      }
    }
  }

  static void report(String scenario, String peer, String metric, double[] v) {
    Arrays.sort(v);
    System.out.println(scenario + "\t" + peer + "\t" + metric + "\t" + num(v[v.length / 2]) + "\t" + num(v[0]) + "\t" + num(v[v.length - 1]));
  }

  static String num(double x) {
    return String.format(Locale.ROOT, Math.abs(x) < 100 ? "%.3f" : "%.0f", x);
  }

  /** Events per second. */
  static double fanout(WaitStrategy wait, int subs, double secs) {
    try (Bus b = new Bus(ProducerType.SINGLE, wait, subs, 0)) {
      long sent = 0;
      long t0 = System.nanoTime();
      long end = t0 + (long) (secs * 1e9);
      while (sent % 32 != 0 || System.nanoTime() < end) {
        b.publish(sent++, 0, false);
      }
      b.drain();
      double t = (System.nanoTime() - t0) * 1e-9;
      for (Handler h : b.handlers) {
        if (h.n != sent || h.sum != sent * (sent - 1) / 2) {
          throw new AssertionError("lost");
        }
      }
      return sent / t;
    }
  }

  static double publishers(WaitStrategy wait, int pubs, double secs) throws InterruptedException {
    try (Bus b = new Bus(pubs == 1 ? ProducerType.SINGLE : ProducerType.MULTI, wait, 1, 0)) {
      long[] sent = new long[pubs];
      long t0 = System.nanoTime();
      long end = t0 + (long) (secs * 1e9);
      List<Thread> ts = new ArrayList<>();
      for (int p = 0; p < pubs; p++) {
        final int me = p;
        Thread t = new Thread(() -> {
          long n = 0;
          while (n % 32 != 0 || System.nanoTime() < end) {
            b.publish(n++, me, false);
          }
          sent[me] = n;
        });
        t.start();
        ts.add(t);
      }
      for (Thread t : ts) {
        t.join();
      }
      b.drain();
      double t = (System.nanoTime() - t0) * 1e-9;
      long all = Arrays.stream(sent).sum();
      if (b.handlers.get(0).n != all) {
        throw new AssertionError("lost");
      }
      return all / t;
    }
  }

  static long[] latency(WaitStrategy wait, int subs, boolean spin) {
    int n = (int) (LATSECS * 10_000);
    try (Bus b = new Bus(ProducerType.SINGLE, wait, subs, n)) {
      long due = System.nanoTime() + 1_000_000;
      for (int i = 0; i < n; i++) {
        if (spin) {
          while (System.nanoTime() < due) {
            Thread.onSpinWait();
          }
        } else {
          long d = due - System.nanoTime();
          if (d > 0) {
            LockSupport.parkNanos(d);
          }
        }
        due = Math.max(due + 100_000, System.nanoTime());
        b.publish(i, 0, true);
      }
      b.drain();
      long[] out = new long[n - 500];
      for (int i = 500; i < n; i++) {
        for (Handler h : b.handlers) {
          out[i - 500] = Math.max(out[i - 500], h.lat[i]);
        }
      }
      Arrays.sort(out);
      return out;
    }
  }

  static void rows(String scenario, String peer, double perEvent, Supplier<Double> run) {
    run.get(); // the first one warms up
    double[] a = new double[REPS];
    double[] b = new double[REPS];
    double[] c = new double[REPS];
    double[] d = new double[REPS];
    for (int i = 0; i < REPS; i++) {
      double eps = run.get();
      a[i] = eps;
      b[i] = eps * perEvent;
      c[i] = 1e9 / (eps * perEvent);
      d[i] = 1e9 / eps;
    }
    report(scenario, peer, "events_per_s", a);
    report(scenario, peer, "deliveries_per_s", b);
    report(scenario, peer, "ns_per_delivery", c);
    report(scenario, peer, "ns_per_event", d);
  }

  static void latencyRows(String scenario, String peer, Supplier<long[]> run) {
    run.get();
    double[][] q = new double[3][REPS];
    double[] p = {0.5, 0.99, 0.999};
    for (int i = 0; i < REPS; i++) {
      long[] s = run.get();
      for (int k = 0; k < 3; k++) {
        q[k][i] = s[Math.max(0, (int) Math.ceil(s.length * p[k]) - 1)];
      }
    }
    report(scenario, peer, "p50_ns", q[0]);
    report(scenario, peer, "p99_ns", q[1]);
    report(scenario, peer, "p99.9_ns", q[2]);
  }

  static double publishersOrDie(WaitStrategy wait, int pubs, double secs) {
    try {
      return publishers(wait, pubs, secs);
    } catch (InterruptedException e) {
      throw new RuntimeException(e);
    }
  }

  public static void main(String[] args) {
    List<String> want = Arrays.asList(args);
    for (boolean yield : new boolean[] {false, true}) {
      Supplier<WaitStrategy> wait = yield ? YieldingWaitStrategy::new : BlockingWaitStrategy::new;
      String peer = yield ? "disruptor-yielding" : "disruptor-blocking";
      if (want.isEmpty() || want.contains("S1")) {
        for (int s : yield ? sizes(1, 4, 16) : sizes(1, 4, 16, 64, 256)) {
          rows("S1.subs=" + s, peer, s, () -> fanout(wait.get(), s, SECS));
        }
      }
      if (want.isEmpty() || want.contains("S4")) {
        for (boolean spin : new boolean[] {true, false}) {
          for (int s : sizes(1, 16)) {
            latencyRows("S4." + (spin ? "spin-unpinned" : "sleep") + ".subs=" + s, peer, () -> latency(wait.get(), s, spin));
          }
        }
      }
      if (want.isEmpty() || want.contains("S7")) {
        for (int p : sizes(1, 2, 4)) {
          rows("S7.pubs=" + p, peer, 1, () -> publishersOrDie(wait.get(), p, SECS));
        }
      }
    }
  }
}
