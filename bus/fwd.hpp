#pragma once

namespace sharingbus {

class BusEvent;
class CallbackGroup;
class CallbackSubscription;
class DispatchScheduler;
class EventDraft;
class EventRef;
class Filter;
class Publisher;
class Received;
class SharingBus;
class Stage;
class StagedEvent;
class Subscription;
struct BusOptions;
struct BusSnapshot;
struct Routing;
struct SubscriptionOptions;
struct SubscriptionStats;

}  // namespace sharingbus
