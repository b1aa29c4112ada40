// Runs inside the compile isolate, after typescript.js: turns one module into a body for the linker.
// Completion value: a function (JSON text → JSON text). It keeps what it needs in closures and trusts nothing in its input.
(function (ts) {
  'use strict'

  // Names the linker puts beside an author's code. Keep in step with linker.py.
  const RESERVED = '$flora$'
  const DEFAULT_NAME = '$flora$d'
  const META_CALL = '$flora$meta()'
  const SDK_HINT = ' is not available in guild scripts'
  const K = ts.SyntaxKind
  const NO_SYMBOLS = Object.freeze([])

  /** An error with a place in the author's file; everything else that is thrown means the isolate can no longer be trusted. */
  class SourceError extends Error {
    constructor(kind, text, line, column) {
      super(text)
      this.entry = { kind, text, line, column }
    }
  }

  const lineBreak = (code) => code === 10 || code === 13 || code === 0x2028 || code === 0x2029

  function compilerOptions() {
    return {
      module: ts.ModuleKind.ESNext,
      target: ts.ScriptTarget.ES2022,
      moduleDetection: ts.ModuleDetectionKind.Force,
      isolatedModules: true,
      noLib: true,
      noResolve: true,
      noCheck: true,
      allowJs: true,
      allowNonTsExtensions: true,
      suppressOutputPathCheck: true,
      sourceMap: true,
      removeComments: true,
      jsx: ts.JsxEmit.Preserve,
      newLine: ts.NewLineKind.LineFeed,
      types: [],
    }
  }

  /** A program of one file with a name of ours, so that an author's file names never reach the compiler. */
  function programOf(extension, text) {
    const options = compilerOptions()
    const fileName = '/module' + extension
    const file = ts.createSourceFile(
      fileName,
      text,
      {
        languageVersion: ts.ScriptTarget.ES2022,
        jsDocParsingMode: ts.JSDocParsingMode.ParseNone,
        setExternalModuleIndicator: ts.getSetExternalModuleIndicator(options),
        impliedNodeFormat: ts.ModuleKind.ESNext,
      },
      true,
    )
    const outputs = { code: '', map: null }
    const host = {
      getSourceFile: (name) => (name === fileName ? file : undefined),
      writeFile: (name, data) => {
        if (name.endsWith('.map')) outputs.map = JSON.parse(data)
        else outputs.code = data
      },
      getDefaultLibFileName: () => 'lib.d.ts',
      useCaseSensitiveFileNames: () => true,
      getCanonicalFileName: (name) => name,
      getCurrentDirectory: () => '/',
      getNewLine: () => '\n',
      fileExists: (name) => name === fileName,
      readFile: () => '',
      directoryExists: () => true,
      getDirectories: () => [],
    }
    const program = ts.createProgram({ rootNames: [fileName], options, host })
    return { program, file, outputs }
  }

  const place = (file, position) => {
    const at = file.getLineAndCharacterOfPosition(position)
    return [at.line + 1, at.character + 1]
  }

  function fail(kind, text, file, node) {
    throw new SourceError(kind, text, ...place(file, node.getStart(file)))
  }

  function refuseSyntaxErrors(program, file) {
    const errors = program.getSyntacticDiagnostics(file).filter((d) => d.category === ts.DiagnosticCategory.Error)
    if (errors.length === 0) return
    const first = errors.reduce((a, b) => ((b.start ?? 0) < (a.start ?? 0) ? b : a))
    const text = `error TS${first.code}: ${ts.flattenDiagnosticMessageText(first.messageText, '\n')}`
    const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : ''
    throw new SourceError('parse', text + more, ...place(file, first.start ?? 0))
  }

  /** Visits every node below `root` without recursion: an author may nest deeper than our stack. */
  function walk(root, visit) {
    const stack = [root]
    while (stack.length > 0) {
      const node = stack.pop()
      visit(node)
      ts.forEachChild(node, (child) => void stack.push(child))
    }
  }

  const isJsx = (node) => ts.isJsxElement(node) || ts.isJsxSelfClosingElement(node) || ts.isJsxFragment(node)

  const isDynamicImport = (node) => ts.isCallExpression(node) && node.expression.kind === K.ImportKeyword

  /** What TypeScript's parser accepts and a guild script cannot have. Returns facts of the author's own text. */
  function inspectSource(file, dynamicImportsAllowed) {
    const facts = { lowered: false, importPlaces: new Map() }
    const remember = (key, node) => {
      if (!facts.importPlaces.has(key)) facts.importPlaces.set(key, place(file, node.getStart(file)))
    }
    walk(file, (node) => {
      if (isJsx(node)) fail('transpile', 'JSX' + SDK_HINT, file, node)
      if (isDynamicImport(node) && !dynamicImportsAllowed) {
        const target = node.arguments[0]
        if (target && ts.isStringLiteralLike(target)) {
          fail('import', `import(${JSON.stringify(target.text)})`, file, node)
        }
      }
      if (ts.isImportEqualsDeclaration(node) && !node.isTypeOnly && ts.isExternalModuleReference(node.moduleReference)) {
        fail('transpile', '`import … = require()`' + SDK_HINT + '; write `import … from`', file, node)
      }
      if (ts.isExportAssignment(node) && node.isExportEquals) {
        fail('transpile', '`export =`' + SDK_HINT + '; write `export default`', file, node)
      }
      if (ts.isImportDeclaration(node) && node.importClause?.phaseModifier === K.DeferKeyword) {
        fail('transpile', '`import defer`' + SDK_HINT, file, node)
      }
      if (ts.isDecorator(node) || isUsing(node) || (ts.isPropertyDeclaration(node) && hasAccessor(node))) facts.lowered = true
      if ((ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) && node.moduleSpecifier) {
        remember(node.moduleSpecifier.text, node.moduleSpecifier)
      }
    })
    return facts
  }

  const isUsing = (node) => ts.isVariableDeclarationList(node) && (node.flags & ts.NodeFlags.Using) !== 0
  const hasAccessor = (node) => node.modifiers?.some((m) => m.kind === K.AccessorKeyword) ?? false

  /** Exported names that exist only as types, so that a re-export of one can be dropped like an import of it. */
  function typeNames(file) {
    const types = new Set()
    const values = new Set()
    for (const statement of file.statements) {
      const named = ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)
      const ambient = statement.modifiers?.some((m) => m.kind === K.DeclareKeyword)
      const shell = ts.isModuleDeclaration(statement) && !ts.isInstantiatedModule(statement, true)
      if (named || ambient || shell) for (const name of declaredNames(statement)) types.add(name)
      else for (const name of declaredNames(statement)) values.add(name)
      if (ts.isImportDeclaration(statement)) for (const name of typeOnlyImports(statement)) types.add(name)
    }
    const exported = new Set()
    for (const statement of file.statements) {
      if (statement.modifiers?.some((m) => m.kind === K.ExportKeyword)) {
        for (const name of declaredNames(statement)) if (types.has(name) && !values.has(name)) exported.add(name)
        if (statement.modifiers.some((m) => m.kind === K.DefaultKeyword) && ts.isInterfaceDeclaration(statement)) exported.add('default')
      }
      // Whatever the other module has: '*' stands for names that cannot be known here.
      if (ts.isExportDeclaration(statement) && statement.isTypeOnly && !statement.exportClause) exported.add('*')
      if (!ts.isExportDeclaration(statement) || !statement.exportClause || !ts.isNamedExports(statement.exportClause)) continue
      for (const one of statement.exportClause.elements) {
        const local = (one.propertyName ?? one.name).text
        if (statement.isTypeOnly || one.isTypeOnly || (!statement.moduleSpecifier && types.has(local) && !values.has(local))) {
          exported.add(one.name.text)
        }
      }
    }
    return [...exported]
  }

  function declaredNames(statement) {
    if (ts.isVariableStatement(statement)) return statement.declarationList.declarations.flatMap((d) => boundNames(d.name))
    return statement.name && ts.isIdentifier(statement.name) ? [statement.name.text] : NO_SYMBOLS
  }

  function typeOnlyImports(statement) {
    const clause = statement.importClause
    if (!clause) return NO_SYMBOLS
    const whole = clause.phaseModifier === K.TypeKeyword || clause.isTypeOnly
    const names = []
    if (whole && clause.name) names.push(clause.name.text)
    if (clause.namedBindings && ts.isNamedImports(clause.namedBindings)) {
      for (const one of clause.namedBindings.elements) if (whole || one.isTypeOnly) names.push(one.name.text)
    }
    return names
  }

  function boundNames(name) {
    const names = []
    walk(name, (node) => {
      if (ts.isIdentifier(node) && (node === name || (ts.isBindingElement(node.parent) && node.parent.name === node))) names.push(node.text)
    })
    return names.reverse()
  }

  // ---- edits: the text keeps its lines; only columns move ----

  class Edits {
    constructor(file) {
      this.file = file
      this.text = file.text
      this.list = [] // [start, end, replacement], not overlapping; a replacement never contains a line break the original has not
    }

    replace(start, end, text) {
      this.list.push([start, end, text])
    }

    insert(position, text) {
      this.list.push([position, position, text])
    }

    /** Overwrites with blanks, line breaks kept, and a semicolon first, so that neighbours never become one statement. */
    blank(start, end, first = ';') {
      let text = ''
      for (let i = start; i < end; i++) text += lineBreak(this.text.charCodeAt(i)) ? this.text[i] : i === start ? first : ' '
      this.replace(start, end, text)
    }

    apply() {
      this.list.sort((a, b) => a[0] - b[0] || a[1] - b[1])
      const pieces = []
      let done = 0
      for (const [start, end, text] of this.list) {
        pieces.push(this.text.slice(done, start), text)
        done = end
      }
      pieces.push(this.text.slice(done))
      return pieces.join('')
    }

    /** Per line: [column behind the edit, columns gained so far], for moving source map segments. */
    shifts() {
      const perLine = new Map()
      for (const [start, end, text] of this.list) {
        const gained = text.length - (end - start)
        if (gained === 0) continue
        const at = this.file.getLineAndCharacterOfPosition(end)
        const list = perLine.get(at.line) ?? []
        const sum = list.length > 0 ? list[list.length - 1][1] : 0
        list.push([at.character, sum + gained])
        perLine.set(at.line, list)
      }
      return perLine
    }
  }

  // ---- imports, exports, references ----

  function isReference(id) {
    const parent = id.parent
    switch (parent.kind) {
      case K.PropertyAccessExpression:
      case K.MetaProperty:
        return parent.expression === id
      case K.PropertyAssignment:
      case K.PropertyDeclaration:
      case K.VariableDeclaration:
      case K.Parameter:
        return parent.initializer === id
      case K.BindingElement:
        return parent.initializer === id
      case K.MethodDeclaration:
      case K.GetAccessor:
      case K.SetAccessor:
      case K.FunctionDeclaration:
      case K.FunctionExpression:
      case K.ClassDeclaration:
      case K.ClassExpression:
      case K.LabeledStatement:
      case K.BreakStatement:
      case K.ContinueStatement:
      case K.ImportClause:
      case K.ImportSpecifier:
      case K.NamespaceImport:
      case K.ExportSpecifier:
      case K.NamespaceExport:
      case K.ImportAttribute:
        return false
      case K.ShorthandPropertyAssignment:
        return true
      default:
        return true
    }
  }

  const PLAIN_NAME = /^[A-Za-z_$][\w$]*$/
  const member = (object, name) => (PLAIN_NAME.test(name) ? `${object}.${name}` : `${object}[${JSON.stringify(name)}]`)

  class ModuleRewriter {
    constructor(program, file, bundle) {
      this.program = program
      this.file = file
      this.bundle = bundle
      this.edits = new Edits(file)
      this.requests = []
      this.bindings = new Map() // local name → [request index, imported name or null for the namespace]
      this.referenced = new Set() // local names of bindings that some code reads
      this.imported = [] // [request index, imported name or null]; not those that are only exported again
      this.exports = [] // [exported, local name]
      this.indirect = [] // [exported, request index, imported name or null]
      this.stars = []
      this.defaultFunction = false // whether `export default function () {}` was given a name it must not show
      this.calledEnds = new Set() // "line:column" behind imported names that are called
      this.topLevelAwait = false
      this.usesMeta = false
    }

    request(specifier) {
      const text = specifier.text
      let index = this.requests.indexOf(text)
      if (index < 0) index = this.requests.push(text) - 1
      return index
    }

    run() {
      for (const name of this.file.identifiers.keys()) {
        if (name.startsWith(RESERVED)) throw new SourceError('transpile', `names that begin with ${RESERVED} are reserved`, 1, 1)
      }
      for (const statement of this.file.statements) this.statement(statement)
      const passedOn = this.localExportsOfImports()
      this.checkExports()
      this.references()
      for (const [local, binding] of this.bindings) {
        if (this.referenced.has(local) || !passedOn.has(local)) this.imported.push(binding)
      }
    }

    statement(node) {
      if (ts.isImportDeclaration(node)) this.importDeclaration(node)
      else if (ts.isExportDeclaration(node)) this.exportDeclaration(node)
      else if (ts.isExportAssignment(node)) this.defaultExpression(node)
      else if (node.modifiers?.some((m) => m.kind === K.ExportKeyword)) this.exportedDeclaration(node)
    }

    importDeclaration(node) {
      const request = this.request(node.moduleSpecifier)
      const clause = node.importClause
      if (clause?.name) this.bind(clause.name.text, request, 'default')
      const named = clause?.namedBindings
      if (named && ts.isNamespaceImport(named)) this.bind(named.name.text, request, null)
      if (named && ts.isNamedImports(named)) {
        for (const one of named.elements) this.bind(one.name.text, request, (one.propertyName ?? one.name).text)
      }
      this.edits.blank(node.getStart(this.file), node.end)
    }

    bind(local, request, name) {
      this.bindings.set(local, [request, name])
    }

    exportDeclaration(node) {
      const clause = node.exportClause
      const request = node.moduleSpecifier ? this.request(node.moduleSpecifier) : -1
      if (!clause) this.stars.push(request)
      else if (ts.isNamespaceExport(clause)) this.indirect.push([clause.name.text, request, null])
      else {
        for (const one of clause.elements) {
          const source = (one.propertyName ?? one.name).text
          if (request >= 0) this.indirect.push([one.name.text, request, source])
          else this.exports.push([one.name.text, source])
        }
      }
      this.edits.blank(node.getStart(this.file), node.end)
    }

    defaultExpression(node) {
      const start = node.getStart(this.file)
      const expression = node.expression.getStart(this.file)
      this.edits.blank(start, expression)
      if (this.bundle) this.edits.insert(expression, '0,')
      else this.edits.insert(expression, `const ${DEFAULT_NAME}={default:`)
      this.edits.insert(node.expression.end, this.bundle ? ';' : '}.default;')
      this.exports.push(['default', DEFAULT_NAME])
    }

    exportedDeclaration(node) {
      const word = node.modifiers.find((m) => m.kind === K.ExportKeyword)
      const isDefault = node.modifiers.find((m) => m.kind === K.DefaultKeyword)
      const start = word.getStart(this.file)
      this.edits.blank(start, (isDefault ?? word).end)
      if (!isDefault) {
        for (const name of declaredNames(node)) this.exports.push([name, name])
      } else if (node.name) {
        this.exports.push(['default', node.name.text])
      } else {
        this.anonymousDefault(node, isDefault.end)
      }
    }

    anonymousDefault(node, start) {
      this.exports.push(['default', DEFAULT_NAME])
      if (this.bundle) {
        this.edits.insert(start, ' 0,')
        this.edits.insert(node.end, ';')
      } else if (ts.isClassDeclaration(node)) {
        this.edits.insert(start, ` const ${DEFAULT_NAME}={default:`)
        this.edits.insert(node.end, '}.default;')
      } else {
        this.defaultFunction = true
        this.edits.insert(node.parameters.pos - 1, ' ' + DEFAULT_NAME)
      }
    }

    /** `import { a } from './x'; export { a }` re-exports a binding; it is not a local of this module. Returns such names. */
    localExportsOfImports() {
      const own = []
      const passedOn = new Set()
      for (const [exported, local] of this.exports) {
        const binding = this.bindings.get(local)
        if (!binding) own.push([exported, local])
        else {
          this.indirect.push([exported, ...binding])
          passedOn.add(local)
        }
      }
      this.exports = own
      return passedOn
    }

    /** What a module refuses at parse time, and what stripping the export would hide from V8. */
    checkExports() {
      const seen = new Set()
      for (const [exported] of [...this.exports, ...this.indirect]) {
        if (seen.has(exported)) throw new SourceError('parse', `Duplicate export of '${exported}'.`, 1, 1)
        seen.add(exported)
      }
      ts.bindSourceFile(this.file, this.program.getCompilerOptions())
      for (const [, local] of this.exports) {
        const known = local === DEFAULT_NAME || this.file.locals.has(ts.escapeLeadingUnderscores(local))
        if (!known) throw new SourceError('parse', `Export '${local}' is not defined in this module.`, 1, 1)
      }
    }

    references() {
      const checker = this.bindings.size > 0 ? this.program.getTypeChecker() : null
      walk(this.file, (node) => {
        if (ts.isIdentifier(node)) this.identifier(node, checker)
        else if (ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier) || isAwaitUsing(node)) {
          if (!this.topLevelAwait && isTopLevel(node)) this.topLevelAwait = true
        } else if (ts.isMetaProperty(node) && node.keywordToken === K.ImportKeyword) {
          this.usesMeta = true
          this.edits.replace(node.getStart(this.file), node.end, META_CALL)
        } else if (ts.isReturnStatement(node) && isTopLevel(node)) {
          fail('parse', "A 'return' statement can only be used within a function body.", this.file, node)
        } else if (ts.isBinaryExpression(node) && node.operatorToken.kind === K.LessThanToken) {
          // Where the linker puts this text `<!--` begins a comment; to TypeScript it is three operators.
          const end = node.operatorToken.end
          if (this.file.text.startsWith('!--', end)) this.edits.insert(end, ' ')
        }
      })
    }

    identifier(node, checker) {
      if (node.text === 'yield' && isReference(node)) fail('parse', "'yield' is a reserved word here.", this.file, node)
      const binding = this.bindings.get(node.text)
      if (!binding || !isReference(node)) return
      const symbol = checker.resolveName(node.text, node, ts.SymbolFlags.Value | ts.SymbolFlags.Alias, false)
      if (!symbol || !symbol.declarations?.some(isImportBinding)) return
      this.referenced.add(node.text)
      const [request, name] = binding
      const object = RESERVED + request
      const text = name === null ? object : member(object, name)
      this.edits.replace(node.getStart(this.file), node.end, this.inContext(node, text, name !== null))
    }

    inContext(node, text, isMember) {
      const parent = node.parent
      if (ts.isShorthandPropertyAssignment(parent) && parent.name === node) {
        return node.text === '__proto__' ? `["__proto__"]:${text}` : `${node.text}:${text}`
      }
      const called = (ts.isCallExpression(parent) && parent.expression === node) || (ts.isTaggedTemplateExpression(parent) && parent.tag === node)
      if (!called || !isMember) return text
      const end = this.file.getLineAndCharacterOfPosition(node.end)
      this.calledEnds.add(`${end.line}:${end.character}`)
      return this.startsStatement(node) ? `;(0,${text})` : `(0,${text})`
    }

    /** Whether a parenthesis here could be read as a call of the statement before, which may lack its semicolon. */
    startsStatement(node) {
      const start = node.getStart(this.file)
      let at = node.parent
      while (!ts.isStatement(at) && at.getStart(this.file) === start) at = at.parent
      if (!ts.isExpressionStatement(at) || at.getStart(this.file) !== start) return false
      return ts.isSourceFile(at.parent) || ts.isBlock(at.parent) || ts.isModuleBlock(at.parent) || ts.isCaseOrDefaultClause(at.parent)
    }
  }

  const isImportBinding = (node) => ts.isImportSpecifier(node) || ts.isImportClause(node) || ts.isNamespaceImport(node)

  const isAwaitUsing = (node) => ts.isVariableDeclarationList(node) && (node.flags & ts.NodeFlags.BlockScoped) === ts.NodeFlags.AwaitUsing

  function isTopLevel(node) {
    for (let at = node.parent; at; at = at.parent) {
      if (ts.isFunctionLike(at) || ts.isClassStaticBlockDeclaration(at)) return false
    }
    return true
  }

  // ---- source maps ----

  const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

  function vlq(value) {
    let rest = value < 0 ? -value * 2 + 1 : value * 2
    let text = ''
    do {
      const digit = rest % 32
      rest = Math.floor(rest / 32)
      text += DIGITS[rest > 0 ? digit + 32 : digit]
    } while (rest > 0)
    return text
  }

  /** One segment per node of the text itself: for files that are taken as they are. */
  function identitySegments(file) {
    const segments = []
    const seen = new Set()
    walk(file, (node) => {
      if (node.kind === K.SourceFile || node.kind === K.EndOfFileToken) return
      const start = node.getStart(file)
      if (seen.has(start)) return
      seen.add(start)
      const at = file.getLineAndCharacterOfPosition(start)
      segments.push([at.line, at.character, at.line, at.character])
    })
    return segments.sort((a, b) => a[0] - b[0] || a[1] - b[1])
  }

  function decodedSegments(map) {
    const segments = []
    const decoder = ts.decodeMappings(map.mappings)
    for (const m of decoder) {
      if (m.sourceIndex !== undefined) segments.push([m.generatedLine, m.generatedCharacter, m.sourceLine, m.sourceCharacter])
    }
    return segments
  }

  /** Mappings of the edited text. Also the last source line and column, where the next module's deltas start. */
  function encode(segments, shifts, calledEnds) {
    let text = ''
    let line = 0
    let column = 0
    let sourceLine = 0
    let sourceColumn = 0
    let first = true
    for (let [generatedLine, at, fromLine, fromColumn] of segments) {
      // V8 names a call of `(0,$flora$0.f)` by its second parenthesis; its author by where `f` begins.
      if (calledEnds.has(`${generatedLine}:${at}`)) [fromLine, fromColumn] = [sourceLine, sourceColumn]
      while (line < generatedLine) {
        text += ';'
        line++
        column = 0
        first = true
      }
      const moved = at + shiftAt(shifts.get(generatedLine), at)
      if (!first) text += ','
      text += vlq(moved - column) + 'A' + vlq(fromLine - sourceLine) + vlq(fromColumn - sourceColumn)
      column = moved
      sourceLine = fromLine
      sourceColumn = fromColumn
      first = false
    }
    return { text, last: [sourceLine, sourceColumn] }
  }

  function shiftAt(list, column) {
    let gained = 0
    if (list) {
      for (const [behind, sum] of list) {
        if (behind > column) break
        gained = sum
      }
    }
    return gained
  }

  // ---- one module ----

  const withoutMapComment = (code) => code.slice(0, code.lastIndexOf('//# sourceMappingURL='))

  function transform({ kind, text, bundle }) {
    const original = programOf(kind, text)
    refuseSyntaxErrors(original.program, original.file)
    const facts = inspectSource(original.file, bundle)
    const typed = kind === '.ts' || kind === '.tsx'
    let target = original
    let segments = null
    if (typed || (facts.lowered && !bundle)) {
      original.program.emit()
      target = programOf('.js', withoutMapComment(original.outputs.code))
      segments = decodedSegments(original.outputs.map)
    }
    const rewriter = new ModuleRewriter(target.program, target.file, bundle)
    rewriter.run()
    if (!segments) segments = bundle ? [] : identitySegments(target.file)
    const code = rewriter.edits.apply()
    const { text: mappings, last } = encode(segments, rewriter.edits.shifts(), rewriter.calledEnds)
    return {
      code,
      lines: target.file.getLineStarts().length,
      mappings,
      last,
      requests: rewriter.requests,
      places: rewriter.requests.map((one) => facts.importPlaces.get(one) ?? [1, 1]),
      imported: rewriter.imported,
      exports: rewriter.exports,
      indirect: rewriter.indirect,
      stars: rewriter.stars,
      types: typed ? typeNames(original.file) : NO_SYMBOLS,
      default_function: rewriter.defaultFunction,
      top_level_await: rewriter.topLevelAwait,
      uses_meta: rewriter.usesMeta,
      shifts: bundle ? [...rewriter.edits.shifts()] : NO_SYMBOLS,
    }
  }

  return (request) => {
    try {
      return JSON.stringify({ module: transform(JSON.parse(request)) })
    } catch (error) {
      if (error instanceof SourceError) return JSON.stringify({ error: error.entry })
      const deep = error instanceof RangeError
      return JSON.stringify({ poisoned: deep ? 'the code is nested too deeply' : String(error?.stack ?? error).slice(0, 2000) })
    }
  }
})(ts)
