/* The bounded ticket ring of bus/internal/ingress.hpp: many publishers, and more than one popper.
 *
 * In the model                      In the C++
 *   publisher: retry … taken        Ingress::draw (one wanted: push; two: push_many)
 *                                   Ingress::push_at_once: one round of the same, for one
 *   publisher: store …              Ingress::write
 *   popper                          Ingress::pop_many (the dispatcher takes 2, who evicts takes 1: Ingress::pop)
 *   closer                          Ingress::close
 *   tail, head, turn, cell          tail_ (with kClosed), head_, Cell::turn, Cell::event
 *   EXTRA, until                    kReserve for re-entrant publishers, and the credit's first forbidden ticket
 *
 * Every load, store and compare-exchange of a shared variable is a step of its own; steps are sequentially consistent.
 * The C++ is weaker at three places, and that is enough:
 *  - `turn` is stored with release and loaded with acquire. Whoever sees a turn sees the cell that goes with it, and
 *    nothing else is concluded from it.
 *  - pop_many reads the head relaxed. An old value costs one failed exchange, which brings the current one.
 *  - draw reads the tail relaxed and the head with acquire. An old head makes the ring look fuller than it is; an old
 *    tail fails at the exchange (which may fail spuriously, too: one more round of the same loop).
 *
 * Asserted: every ticket given out is popped once, in order, with the event that drew it; no cell is written before the
 * ticket that had it last was popped and its popper let go of it; nothing is drawn after close(), nor at or after
 * `until`; at the end everything accepted was popped.
 */
#ifndef CAP
#define CAP 2
#endif
#ifndef EXTRA
#define EXTRA 0
#endif
#ifndef RING
#define RING 2 /* in the C++ at least CAP + EXTRA */
#endif
#ifndef PUBLISHERS
#define PUBLISHERS 2
#endif
#ifndef EACH
#define EACH 2
#endif
#ifndef BATCH
#define BATCH 1 /* what the last publisher wants at once */
#endif
#ifndef EVICTIONS
#define EVICTIONS 2
#endif
#define CLOSED 64
#define TICKETS 16

byte tail, head;
byte turn[RING];
byte cell[RING];

/* Ghosts. */
byte owner[TICKETS]; /* the event that drew the ticket */
bit popped[TICKETS];
bit freed[TICKETS];
byte publishing = PUBLISHERS;
byte closed_tail = 255;
#ifdef M_CLOSE_FLAG
bit closed_flag;
#endif

proctype publisher(byte id; byte wanted; byte extra; byte until) {
  byte made, ticket, seen, limit, count, i;
  bit late;
  do
  :: made == EACH -> break
  :: else ->
    atomic { late = (closed_tail != 255); ticket = tail; }
retry:
    if
#ifdef M_CLOSE_FLAG
    :: closed_flag -> goto refused
#endif
    :: ticket >= CLOSED || ticket >= until -> goto refused
    :: else
    fi;
    atomic {
      seen = head;
      if
      :: seen > ticket -> goto look_again
      :: seen <= ticket && ticket - seen >= CAP + extra -> goto refused
      :: else ->
        limit = CAP + extra - (ticket - seen);
        limit = (limit < until - ticket -> limit : until - ticket);
        limit = (limit < wanted -> limit : wanted);
        limit = (limit < EACH - made -> limit : EACH - made);
        count = 0
      fi
    }
    do
    :: atomic {
        count < limit ->
#ifndef M_NO_TURN
        if
        :: turn[(ticket + count) % RING] == ticket + count -> count++
        :: else -> break
        fi
#else
        count++
#endif
      }
    :: count == limit -> break
    od;
    if
    :: atomic { count == 0 ->
        if
        :: tail == ticket -> goto refused
        :: else -> ticket = tail; goto retry
        fi
      }
    :: atomic { count != 0 ->
        if
        :: tail != ticket -> ticket = tail; goto retry
        :: else ->
          tail = ticket + count;
          assert(!late);
          assert(tail <= until && tail < TICKETS);
          i = 0;
          do
          :: i < count -> owner[ticket + i] = id + made + i; i++
          :: else -> break
          od;
          i = 0
        fi
      }
    fi;
taken:
    do
    :: i < count ->
      atomic {
        assert(ticket + i < RING || freed[ticket + i - RING]);
        assert(ticket + i >= head);
#ifdef M_TURN_FIRST
        turn[(ticket + i) % RING] = ticket + i + 1;
      }
      cell[(ticket + i) % RING] = id + made + i;
#else
        cell[(ticket + i) % RING] = id + made + i;
      }
      turn[(ticket + i) % RING] = ticket + i + 1;
#endif
      i++
    :: else -> break
    od;
    atomic { made = made + count; goto next }
look_again:
    atomic { ticket = tail; goto retry }
refused:
    /* This event is given back; the next one is tried. */
    made++;
next:
    atomic { ticket = 0; seen = 0; limit = 0; count = 0; i = 0; late = 0 }
  od;
  publishing--
}

#define DONE (publishing == 0 && head == (tail & (CLOSED - 1)))

proctype popper(byte limit; byte times) {
  byte at, count, i;
  byte out[2];
  do
  :: atomic { DONE || times == 0 -> break }
  :: atomic { !DONE && times != 0 && turn[head % RING] == head + 1 -> at = head }
    /* pop_many: others may move on from here. */
again:
    count = 0;
    do
    :: atomic {
        count < limit ->
        if
        :: turn[(at + count) % RING] == at + count + 1
        :: else -> break
        fi
      }
      atomic { out[count] = cell[(at + count) % RING]; count++ }
    :: count == limit -> break
    od;
    if
    :: atomic { count == 0 ->
        if
        :: head == at -> goto none
        :: else -> at = head; goto again
        fi
      }
    :: atomic { count != 0 ->
        if
#ifndef M_NO_EXCHANGE
        :: head != at -> at = head; goto again
#endif
        :: else ->
          head = at + count;
          i = 0;
          do
          :: i < count ->
            assert(!popped[at + i]);
            assert(at + i == 0 || popped[at + i - 1]);
            assert(out[i] == owner[at + i]);
            popped[at + i] = 1;
            i++
          :: else -> break
          od;
          i = 0
        fi
      }
    fi;
    do
    :: atomic { i < count -> turn[(at + i) % RING] = at + i + RING; freed[at + i] = 1; i++ }
    :: i == count -> break
    od;
none:
    atomic {
      at = 0; count = 0; i = 0; out[0] = 0; out[1] = 0;
      if
      :: times == 255
      :: else -> times--
      fi
    }
  od
}

proctype closer() {
#ifdef M_CLOSE_FLAG
  atomic { closed_flag = 1; closed_tail = tail }
#else
  atomic { closed_tail = tail; tail = tail | CLOSED }
#endif
}

init {
  byte i;
  atomic {
    do
    :: i < RING -> turn[i] = i; i++
    :: else -> break
    od;
    i = 1;
    do
    :: i < PUBLISHERS -> run publisher(i * 8, 1, (i == 1 -> EXTRA : 0), (i == 2 -> 2 : CLOSED)); i++
    :: else -> break
    od;
    run publisher(PUBLISHERS * 8, BATCH, 0, CLOSED);
    run popper(2, 255);
    run popper(1, EVICTIONS);
    run closer();
    i = 0
  }
  atomic {
    _nr_pr == 1 ->
    assert(DONE);
    assert((tail & (CLOSED - 1)) == closed_tail);
    do
    :: i < (tail & (CLOSED - 1)) -> assert(popped[i]); i++
    :: else -> break
    od
  }
}
