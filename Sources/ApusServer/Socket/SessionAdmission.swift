import ApusCore
import ApusProtocol

/// Decides whether a `hello` opens a session: the token is valid, it is a person's, the device is not revoked.
struct SessionAdmission: Sendable {
    let verifier: any TokenVerifier
    let devices: any DeviceStore
    let routes: any RouteTable
    let node: NodeID

    /// Adds the session's route; ``leave(_:)`` removes it.
    func admit(accessToken: String, session: SessionID) async -> Result<SessionIdentity, ApusError> {
        do {
            let grant = try await verifier.verify(accessToken: accessToken)
            guard case .device(let account, let device) = grant.subject else {
                return .failure(ApusError(.forbidden, "a service has no session"))
            }
            let route = Route(session: session, account: account, device: device, node: node)
            // The route first: a device that is revoked from here on is found by it and closed.
            try await routes.add(route)
            do {
                guard try await devices.isActive(device) else { throw ApusError(.unauthenticated, "this device was logged out") }
            } catch {
                try await routes.remove(route)
                throw error
            }
            return .success(SessionIdentity(account: account, device: device))
        } catch let error as ApusError {
            return .failure(error)
        } catch {
            return .failure(ApusError(.internal, "the session could not be opened", cause: error))
        }
    }

    func leave(_ session: SessionID, _ identity: SessionIdentity) async throws {
        try await routes.remove(Route(session: session, account: identity.account, device: identity.device, node: node))
    }
}
