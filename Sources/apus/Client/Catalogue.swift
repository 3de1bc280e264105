import ArgumentParser

/// The languages that the terminal client speaks.
enum Language: String, CaseIterable, Sendable, ExpressibleByArgument {
    case english = "en"
    case chinese = "zh"

    /// The first of LC_ALL, LC_MESSAGES and LANG that is set decides, as POSIX has it.
    init(environment: [String: String]) {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].lazy.compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
        self = locale.hasPrefix("zh") ? .chinese : .english
    }
}

/// A sentence that the terminal client says to a person.
enum Phrase {
    // Account
    case passwordPrompt, passwordAgain, newPassword, passwordsDiffer, passwordChanged
    case loggedIn(as: String, server: String, profile: String)
    case loggedOut, loginEnded
    case username, displayName, avatar, bio, thisDevice, isOnline
    // Entries
    case system, unknownKind(String)
    case groupCreated(by: String), joined(String, by: String), left(String), renamed(String, by: String)
    // Lists
    case onlineCount(Int), unread(Int), memberCount(Int), nothingFound, noConversations
    // Chat
    case welcome(name: String), help, noConversationOpen, unknownCommand(String), missingArgument(usage: String)
    case opened(String), notFound(String), typing([String]), delivered(to: String, seq: UInt64), read(by: String, seq: UInt64)
    case messageScheduled(at: String), notSent(String), failed(String), stillUnsent(Int)
    case stateOffline, stateConnecting, stateOnline, stateWaiting(seconds: Double), stateFailed(code: Int)
    case infoServer, infoAccount, infoDevice, infoState, infoConversation, infoOutbox
    case emojiPage(Int, of: Int), youLeft(String), invited(String), missedEvents, historyLost(first: UInt64), you
    case groupOnly
}

/// All that is shown to people, in each language.
struct Catalogue: Sendable {
    let language: Language

    func callAsFunction(_ phrase: Phrase) -> String {
        switch language {
        case .english: Self.english(phrase)
        case .chinese: Self.chinese(phrase)
        }
    }

    private static func english(_ phrase: Phrase) -> String {
        switch phrase {
        case .passwordPrompt: "Password: "
        case .passwordAgain: "Again: "
        case .newPassword: "New password: "
        case .passwordsDiffer: "the two passwords differ"
        case .passwordChanged: "The password is changed; all other devices are logged out."
        case .loggedIn(let name, let server, let profile): "Logged in as \(name) at \(server) (profile \(profile))."
        case .loggedOut: "Logged out."
        case .loginEnded: "This login has ended. Log in again: apus login"
        case .username: "Username"
        case .displayName: "Display name"
        case .avatar: "Avatar"
        case .bio: "About"
        case .thisDevice: "this device"
        case .isOnline: "online"
        case .system: "*"
        case .unknownKind(let kind): "[\(kind): not shown in the terminal]"
        case .groupCreated(let by): "\(by) created the group"
        case .joined(let people, let by): people == by ? "\(people) joined" : "\(by) added \(people)"
        case .left(let people): "\(people) left"
        case .renamed(let title, let by): "\(by) renamed the group to “\(title)”"
        case .onlineCount(let count): "\(count) online"
        case .unread(let count): "\(count) unread"
        case .memberCount(let count): "\(count) members"
        case .nothingFound: "Nothing found."
        case .noConversations: "No conversations yet. :open USERNAME begins one."
        case .welcome(let name): "Logged in as \(name). :open USERNAME begins a chat, :all lists the commands, :q! quits."
        case .help: englishHelp
        case .noConversationOpen: "No conversation is open: :open USERNAME, or :ls for a list."
        case .unknownCommand(let name): "There is no command \(name); :all lists them. A message that begins with a colon: ::text"
        case .missingArgument(let usage): "Usage: \(usage)"
        case .opened(let name): "— \(name) —"
        case .notFound(let name): "There is no \(name)."
        case .typing(let names): names.joined(separator: ", ") + (names.count == 1 ? " is typing" : " are typing")
        case .delivered(let name, let seq): "✓✓ delivered to \(name) (up to #\(seq))"
        case .read(let name, let seq): "✓✓ read by \(name) (up to #\(seq))"
        case .messageScheduled(let time): "The server will deliver it at \(time)."
        case .notSent(let reason): "Not sent: \(reason)"
        case .failed(let reason): "That did not work: \(reason)"
        case .stillUnsent(let count): "\(count) messages are not sent yet; they stay in the outbox and go out next time."
        case .stateOffline: "offline"
        case .stateConnecting: "connecting …"
        case .stateOnline: "online"
        case .stateWaiting(let seconds): "no connection; trying again in \(oneDigit(seconds)) s"
        case .stateFailed(let code): "the server refuses this client (\(code))"
        case .infoServer: "Server"
        case .infoAccount: "Account"
        case .infoDevice: "Device"
        case .infoState: "State"
        case .infoConversation: "Conversation"
        case .infoOutbox: "Outbox"
        case .emojiPage(let page, let of): "Page \(page) of \(of); type a name like :smile: in a message"
        case .youLeft(let name): "You left \(name)."
        case .invited(let names): "Added \(names)."
        case .missedEvents: "Some lines were left out here: too much came at once. :history shows them."
        case .historyLost(let first): "Entries before #\(first) are no longer on the server."
        case .you: "you"
        case .groupOnly: "That is for groups only."
        }
    }

    private static func chinese(_ phrase: Phrase) -> String {
        switch phrase {
        case .passwordPrompt: "密码："
        case .passwordAgain: "再输一次："
        case .newPassword: "新密码："
        case .passwordsDiffer: "两次输入的密码不一致"
        case .passwordChanged: "密码已修改，其他设备已全部退出登录。"
        case .loggedIn(let name, let server, let profile): "已以 \(name) 登录 \(server)（配置 \(profile)）。"
        case .loggedOut: "已退出登录。"
        case .loginEnded: "登录已失效，请重新登录：apus login"
        case .username: "用户名"
        case .displayName: "昵称"
        case .avatar: "头像"
        case .bio: "简介"
        case .thisDevice: "本设备"
        case .isOnline: "在线"
        case .system: "*"
        case .unknownKind(let kind): "[\(kind)：终端无法显示]"
        case .groupCreated(let by): "\(by) 创建了群组"
        case .joined(let people, let by): people == by ? "\(people) 加入了群组" : "\(by) 邀请 \(people) 加入了群组"
        case .left(let people): "\(people) 退出了群组"
        case .renamed(let title, let by): "\(by) 将群名改为“\(title)”"
        case .onlineCount(let count): "\(count) 人在线"
        case .unread(let count): "\(count) 条未读"
        case .memberCount(let count): "\(count) 名成员"
        case .nothingFound: "没有找到。"
        case .noConversations: "还没有会话。用 :open 用户名 开始聊天。"
        case .welcome(let name): "已以 \(name) 登录。:open 用户名 开始聊天，:all 列出命令，:q! 退出。"
        case .help: chineseHelp
        case .noConversationOpen: "没有打开的会话：:open 用户名，或用 :ls 查看列表。"
        case .unknownCommand(let name): "没有命令 \(name)，用 :all 查看全部命令。以冒号开头的消息请写作 ::文字"
        case .missingArgument(let usage): "用法：\(usage)"
        case .opened(let name): "— \(name) —"
        case .notFound(let name): "找不到 \(name)。"
        case .typing(let names): names.joined(separator: "、") + " 正在输入"
        case .delivered(let name, let seq): "✓✓ 已送达 \(name)（至 #\(seq)）"
        case .read(let name, let seq): "✓✓ \(name) 已读（至 #\(seq)）"
        case .messageScheduled(let time): "服务器将于 \(time) 发送。"
        case .notSent(let reason): "未发送：\(reason)"
        case .failed(let reason): "未能完成：\(reason)"
        case .stillUnsent(let count): "还有 \(count) 条消息未发送，已留在发件箱，下次会先发送。"
        case .stateOffline: "离线"
        case .stateConnecting: "正在连接……"
        case .stateOnline: "在线"
        case .stateWaiting(let seconds): "没有连接，\(oneDigit(seconds)) 秒后重试"
        case .stateFailed(let code): "服务器拒绝了本客户端（\(code)）"
        case .infoServer: "服务器"
        case .infoAccount: "账号"
        case .infoDevice: "设备"
        case .infoState: "状态"
        case .infoConversation: "会话"
        case .infoOutbox: "发件箱"
        case .emojiPage(let page, let of): "第 \(page) 页，共 \(of) 页；在消息中输入 :smile: 这样的名称"
        case .youLeft(let name): "你已退出 \(name)。"
        case .invited(let names): "已邀请 \(names)。"
        case .missedEvents: "消息太多，此处略去了一些，可用 :history 查看。"
        case .historyLost(let first): "#\(first) 之前的记录已不在服务器上。"
        case .you: "你"
        case .groupOnly: "只能用于群组。"
        }
    }

    private static func oneDigit(_ seconds: Double) -> String { "\((seconds * 10).rounded() / 10)" }

    private static let englishHelp = """
        :open NAME|ID|NUMBER    open a chat with a user, a conversation, or one of the list
        :ls                     list conversations with unread counts
        :history [COUNT]        show the last messages of the open conversation
        :q KEYWORD              search the messages stored on this machine
        :olu                    who is online
        :pu PREFIX              search users by the beginning of their name
        :info                   server, account and connection
        :emoji [PAGE]           names of emoji
        :delay SECONDS TEXT     send a message later
        :group TITLE [USER …]   make a group and open it (a title of several words in "quotes")
        :invite USER …          add members to the open group
        :members                members of the open conversation and how far they have read
        :rename TITLE           change the title of the open group
        :leave                  leave the open group
        :all                    this list
        :q!                     quit
        Everything else is sent. A message that begins with a colon: ::text
        """

    private static let chineseHelp = """
        :open 用户名|ID|序号      与某人聊天，或打开一个会话
        :ls                     会话列表和未读数
        :history [条数]          显示当前会话最近的消息
        :q 关键字                搜索本机保存的消息
        :olu                    在线用户
        :pu 前缀                 按用户名前缀查找用户
        :info                   服务器、账号与连接状态
        :emoji [页码]            表情名称
        :delay 秒数 文字          延时发送
        :group 群名 [用户 …]      创建群组并打开（群名含空格请加引号）
        :invite 用户 …           邀请成员加入当前群组
        :members                当前会话的成员及已读位置
        :rename 群名             修改当前群组的名称
        :leave                  退出当前群组
        :all                    显示本列表
        :q!                     退出程序
        其余内容作为消息发送。以冒号开头的消息请写作 ::文字
        """
}
