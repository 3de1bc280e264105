import ApusProtocol
import Logging
import ServiceLifecycle

/// Takes deleted accounts out of their conversations. A deletion only marks the account, which ends its logins at once; this finds
/// the marks, leaves one conversation after the other, and sets a mark when it is through. A process that dies in between leaves the
/// first mark standing, and any node goes on where it stopped; two that do it at once do nothing twice.
public final class AccountDepartures: Service {
    private let accounts: any AccountStore
    private let conversations: any ConversationStore
    private let delivery: Delivery
    private let clock: any WallClock
    private let interval: Duration
    private let pageMax: Int
    private let logger: Logger
    private let alarm = Alarm()

    /// - Parameters:
    ///   - interval: how soon what another process deleted is found. One read of the store each time.
    ///   - pageMax: accounts, and conversations of one, that are read at once.
    public init(
        accounts: any AccountStore, conversations: any ConversationStore, delivery: Delivery, clock: any WallClock,
        interval: Duration = .seconds(5), pageMax: Int = 100, logger: Logger
    ) {
        self.accounts = accounts
        self.conversations = conversations
        self.delivery = delivery
        self.clock = clock
        self.interval = interval
        self.pageMax = pageMax
        self.logger = logger
    }

    /// An account was deleted: do not wait for the next interval.
    public func ring() { alarm.ring() }

    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await self.sweep()
                } catch {
                    self.logger.warning("deleted accounts wait for the store", metadata: ["error": "\(error)"])
                }
                await self.alarm.sleep(atMost: self.interval)
            }
        }
    }

    /// Takes every account out that is marked. One that cannot be taken out now does not hold up those after it.
    /// - Throws: what the store throws when it cannot say which they are.
    func sweep() async throws {
        var last: AccountID?
        repeat {
            let page = try await accounts.departing(after: last, limit: pageMax)
            for account in page {
                do {
                    try await leaveAll(account)
                    try await accounts.setDeparted(account, at: clock.now)
                } catch {
                    logger.warning(
                        "a deleted account is in conversations still", metadata: ["account": "\(account)", "error": "\(error)"])
                }
            }
            last = page.count == pageMax ? page.last : nil
        } while last != nil && !Task.isCancelled
    }

    private func leaveAll(_ account: AccountID) async throws {
        var last: ConversationID?
        repeat {
            // Those that were left already are not in it: after a stop this goes on where it was.
            let page = try await conversations.conversations(of: account, after: last, limit: pageMax)
            for conversation in page { try await delivery.depart(account, from: conversation.id) }
            last = page.count == pageMax ? page.last?.id : nil
        } while last != nil
    }
}
