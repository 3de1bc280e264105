/// Runs the server until it is told to stop.
func serve(_ configuration: ServerConfiguration) async throws {
    throw StartError.unavailable("this build has no roles")
}
