import ApusChaos
import Foundation
import Testing

@testable import apus

private let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
private let directory = root.appending(path: "Deploy")
/// Made by `make test`. Not standardized, which resolves links: by this link Python knows its environment.
private let python = root.appending(path: ".venv/bin/python")

@Suite(
    "What is deployed, as far as that can be checked without an engine",
    .enabled(
        if: FileManager.default.isExecutableFile(atPath: python.path),
        "needs a Python with Tests/Independent/requirements.txt in .venv; `make test` makes it"),
    .timeLimit(.minutes(2)))
struct DeployTests {
    @Test("compose.yaml and the manifests are what their specifications say, and refer to nothing that is not there")
    func valid() async throws {
        let problems = try await check(directory).problems
        #expect(problems.isEmpty, "\(problems)")
    }

    @Test("every node gets settings that the server has, with values that it permits")
    @available(macOS 15, *)
    func settings() async throws {
        let nodes = try await check(directory).nodes
        // The image, a workload for each role, and for two registries the six services of compose.yaml that run nodes.
        #expect(nodes.count == 18)
        for (name, settings) in nodes {
            do {
                _ = try await ConfigurationLoader.load(arguments: [], environment: settings)
            } catch let error as ConfigurationError {
                Issue.record("\(name): \(error.problems)")
            }
        }
    }

    struct Defect: Sendable, CustomTestStringConvertible {
        var file: String
        var text: String
        var replacement: String
        /// Part of what the check says about it.
        var problem: String

        var testDescription: String { problem }
    }

    @Test(
        "the check finds what is wrong",
        arguments: [
            Defect(file: "compose.yaml", text: "restart:", replacement: "restarts:", problem: "Compose specification"),
            Defect(file: "compose.yaml", text: "@redis:6379", replacement: "@cache:6379", problem: "cache, which does not run"),
            Defect(
                file: "compose.yaml", text: "@mariadb:3306", replacement: "@mariadb:3307", problem: "mariadb:3307, which is not exposed"),
            Defect(
                file: "compose.yaml", text: "=http://minio:9000", replacement: "=http://minio:9001",
                problem: "minio:9001, which is not exposed"),
            Defect(file: "compose.yaml", text: "\"8181:8081\"", replacement: "\"8191:8081\"", problem: "connect to port 8181"),
            Defect(file: "compose.yaml", text: "8090/readyz", replacement: "8080/readyz", problem: "does not ask /readyz on port 8090"),
            Defect(
                file: "compose.yaml", text: "stop_grace_period: 30s", replacement: "stop_grace_period: 15s", problem: "is killed after 15 s"
            ),
            Defect(file: "compose.yaml", text: "${CLUSTER_SECRET:?", replacement: "${CLUSTER_KEY:?", problem: "does not write CLUSTER_KEY"),
            Defect(
                file: "compose.yaml", text: "${MINIO_PASSWORD:?run Deploy/make-secrets.sh}", replacement: "minioadmin",
                problem: "MINIO_ROOT_PASSWORD has a default"),
            Defect(file: "entrance.cfg", text: "gateway:8090", replacement: "gateway:8080", problem: "gateways do not listen on 8080"),
            Defect(file: "Dockerfile", text: "USER 10001:10001", replacement: "", problem: "runs as root"),
            Defect(
                file: "kubernetes/web.yaml", text: "failureThreshold:", replacement: "failuresMax:", problem: "'failuresMax' was unexpected"
            ),
            Defect(file: "kubernetes/user.yaml", text: "path: /readyz", replacement: "path: /ready", problem: "not /readyz on port http"),
            Defect(
                file: "kubernetes/auth.yaml", text: "key: redis", replacement: "key: cache",
                problem: "auth: there is no {'name': 'apus-cluster'"),
            Defect(file: "kubernetes/socket.yaml", text: "maxReplicas: 6", replacement: "maxReplicas: 7", problem: "socket-6 advertises"),
            Defect(
                file: "kubernetes/socket.yaml", text: "PeriodSeconds: 60", replacement: "PeriodSeconds: 30",
                problem: "socket is killed after 30 s"),
            Defect(
                file: "kubernetes/ingress.yaml", text: "name: gateway, port", replacement: "name: front, port",
                problem: "there is no {'name': 'front'"),
        ])
    func finds(defect: Defect) async throws {
        let copy = FileManager.default.temporaryDirectory.appending(path: "apus-deploy-\(UUID().uuidString)")
        try FileManager.default.copyItem(at: directory, to: copy)
        defer { try? FileManager.default.removeItem(at: copy) }
        let file = copy.appending(path: defect.file)
        let text = try String(contentsOf: file, encoding: .utf8)
        try #require(text.contains(defect.text))
        try text.replacing(defect.text, with: defect.replacement).write(to: file, atomically: true, encoding: .utf8)

        let problems = try await check(copy).problems
        #expect(problems.contains { $0.contains(defect.problem) }, "\(problems)")
    }

    private struct Report: Decodable {
        /// Settings by node.
        var nodes: [String: [String: String]]
        var problems: [String]
    }

    private func check(_ deployment: URL) async throws -> Report {
        let script = root.appending(path: "Tests/Independent/deploy.py").path
        // -B: no __pycache__ in the sources.
        let result = try await Command.run(python, ["-B", script, deployment.path], timeout: .seconds(60))
        try #require(result.exit == .code(0), "\(result.output)\n\(result.errors)")
        return try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
    }
}
