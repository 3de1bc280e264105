/// One line on stderr that tells how far a run is: rewritten in place on a terminal, a new line every few seconds elsewhere.
actor ProgressLine {
    private static let secondsBetweenLines = 5.0

    private var figures: [Int: WorkerProgress] = [:]
    private var label = ""
    private var lastLine: ContinuousClock.Instant?
    private var hasOpenLine = false

    func update(worker: Int, _ progress: WorkerProgress, label: String) {
        if label != self.label { figures = [:] }
        self.label = label
        figures[worker] = progress
        let sum = figures.values.reduce(WorkerProgress(), +)
        var text = "\(label): \(sum.open) sessions"
        if sum.sent > 0 { text += ", \(sum.sent) sent, \(sum.acknowledged) acknowledged, \(sum.delivered) delivered" }
        show(text)
    }

    func show(_ text: String) {
        if Output.noteIsTerminal {
            Output.noteRaw("\r\u{1B}[K" + text)
            hasOpenLine = true
            return
        }
        if let lastLine, ContinuousClock.now - lastLine < .seconds(Self.secondsBetweenLines) { return }
        lastLine = .now
        Output.note(text)
    }

    /// Clears the line, so that the report begins on a clean one.
    func finish() {
        if hasOpenLine { Output.noteRaw("\r\u{1B}[K") }
        hasOpenLine = false
    }
}
